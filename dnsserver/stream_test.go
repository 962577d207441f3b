package dnsserver_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"cnamed/dnsserver"
)

// FuzzStream: whatever octets come over a connection, in whatever pieces, the server sends the reply to each whole message
// in their order, as Answer gives it, and nothing else. It ends at a message that gets none, and where the client does.
// The connections are those of a Unix socket, which do not use up ports.
func FuzzStream(f *testing.F) {
	var all []byte
	for _, file := range []string{"apex", "cookie", "edns", "malformed"} {
		for _, c := range readTable(f, "testdata/"+file+".txt").queries {
			message := append(binary.BigEndian.AppendUint16(nil, uint16(len(c.request))), c.request...)
			f.Add(message, uint16(1))
			f.Add(append(message[:len(message):len(message)], message[:len(message)/2]...), uint16(7))
			all = append(all, message...)
		}
	}
	f.Add(all, uint16(100))
	f.Add([]byte{0, 0}, uint16(1))
	f.Add([]byte{255, 255, 0}, uint16(1))

	n := newNames()
	n.set("8e5700ea", "one", "two")
	server := &dnsserver.Server{
		Zones: dnsserver.NewZoneSet(testZone(f, n)), Keys: keyring(f), NSID: "ns1", MaxConns: 1000, MaxConnsPerClient: 1000,
		Now: func() time.Time { return time.Unix(1559731985, 0) },
	}
	path := filepath.Join(f.TempDir(), "dns")
	listener, err := net.Listen("unix", path)
	if err != nil {
		f.Fatal(err)
	}
	endpoint, err := dnsserver.Inherit(nil, []net.Listener{listener})
	if err != nil {
		f.Fatal(err)
	}
	serve(f, server, endpoint)
	f.Fuzz(func(t *testing.T, input []byte, piece uint16) {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(timeout))
		go func() {
			for rest := input; len(rest) > 0; {
				n, err := c.Write(rest[:min(len(rest), max(1, int(piece)))])
				if err != nil {
					return // the server has ended the connection
				}
				rest = rest[n:]
			}
			_ = c.(*net.UnixConn).CloseWrite()
		}()
		got, err := io.ReadAll(c)
		if err != nil && !errors.Is(err, syscall.ECONNRESET) { // that is how it ends with input that nobody reads
			t.Fatal(err)
		}
		if want := streamReplies(server, input); !bytes.Equal(got, want) {
			t.Fatalf("input %x\ngot   %x\nwant  %x", input, got, want)
		}
	})
}

// streamReplies returns what a server has to send to a stream of messages.
func streamReplies(server *dnsserver.Server, input []byte) (replies []byte) {
	for len(input) >= 2 {
		size := int(binary.BigEndian.Uint16(input))
		if input = input[2:]; len(input) < size {
			break
		}
		reply := server.Answer(nil, input[:size], dnsserver.Client{Transport: dnsserver.TCP})
		if reply == nil {
			break
		}
		replies = append(binary.BigEndian.AppendUint16(replies, uint16(len(reply))), reply...)
		input = input[size:]
	}
	return replies
}
