package sqlite

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// errDamagedLog: SQLite would leave out what is behind the damage, silently.
var errDamagedLog = fmt.Errorf("%w: its log was changed after it had been flushed", errDamaged)

// The log, SQLite's file format §4.1 and 4.2.
const (
	logHeaderSize   = 32
	frameHeaderSize = 24
	logMagic        = 0x377f0682 // with the order of check sums in its lowest bit
)

// checkLog refuses a log at path that is damaged before its last commit. SQLite
// reads a log up to the first frame that is not in order, as a loss of power leaves
// it within a commit that was never acknowledged. But each commit is flushed before
// the next one is written: where whole commits are behind that frame, there was one
// there, too.
func checkLog(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 1<<18)
	header := make([]byte, logHeaderSize)
	if whole, err := readWhole(r, header); !whole || isZero(header) {
		return err // it was never flushed
	}
	l := walLog{salts: [8]byte(header[16:24])}
	magic := binary.BigEndian.Uint32(header)
	l.order = binary.LittleEndian
	if magic&1 != 0 {
		l.order = binary.BigEndian
	}
	page := int(binary.BigEndian.Uint32(header[8:]))
	sum := l.sum(checksum{}, header[:24])
	if magic&^1 != logMagic || sum != stored(header[24:]) || page < 512 || page > 64<<10 {
		return fmt.Errorf("%w, in its first octets", errDamagedLog)
	}
	damaged, committed := -1, false
	frame := make([]byte, frameHeaderSize+page)
	for i := 0; ; i++ {
		if whole, err := readWhole(r, frame); !whole {
			return err
		}
		inOrder := l.inOrder(sum, frame)
		sum = stored(frame[16:])
		switch {
		case damaged < 0 && inOrder:
		case damaged < 0:
			damaged = i
		case !inOrder && i > damaged+1:
			return nil
		case !inOrder:
		case committed:
			return fmt.Errorf("%w, at octet %d or before", errDamagedLog, logHeaderSize+(damaged+1)*len(frame))
		default:
			committed = binary.BigEndian.Uint32(frame[4:]) != 0
		}
	}
}

// readWhole fills b, unless the file ends before.
func readWhole(r io.Reader, b []byte) (whole bool, err error) {
	_, err = io.ReadFull(r, b)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return false, nil
	}
	return err == nil, err
}

// walLog is what all frames of a log have in common.
type walLog struct {
	order binary.ByteOrder
	salts [8]byte
}

// checksum is that of everything up to a place in the log.
type checksum [2]uint32

func stored(b []byte) checksum {
	return checksum{binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])}
}

func (l *walLog) sum(s checksum, b []byte) checksum {
	for ; len(b) >= 8; b = b[8:] {
		s[0] += l.order.Uint32(b) + s[1]
		s[1] += l.order.Uint32(b[4:]) + s[0]
	}
	return s
}

// inOrder reports whether a frame is of this log and follows what has the sum
// before.
func (l *walLog) inOrder(before checksum, frame []byte) bool {
	return [8]byte(frame[8:16]) == l.salts &&
		l.sum(l.sum(before, frame[:8]), frame[frameHeaderSize:]) == stored(frame[16:])
}

func isZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
