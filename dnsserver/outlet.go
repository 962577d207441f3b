package dnsserver

import (
	"errors"
	"sync"
	"time"
)

// sender takes the messages of a transfer.
type sender interface {
	// begin is called before the first message. Until end is called what else the client asks need not wait. nil: nothing can
	// be sent any more.
	begin() (end func())
	send(msg []byte) error
	// cut is called before end where messages were sent and the rest is not: nothing may follow them.
	cut()
}

// outlet is the writing half of a connection, which the stream that reads it shares with one that sends a transfer.
type outlet struct {
	conn    *conn
	timeout time.Duration

	mu  sync.Mutex // held while whole messages are written
	err error      // of the write that failed, or errCut: half a reply can have been sent, and nothing may follow that

	transfer sync.Mutex // held while one is under way
	ended    time.Time  // the last of them
}

// write writes whole messages. A client that does not take them holds up itself alone, and not for long.
func (o *outlet) write(messages []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return o.err
	}
	if o.err = o.conn.SetWriteDeadline(time.Now().Add(o.timeout)); o.err == nil {
		_, o.err = o.conn.Write(messages)
	}
	return o.err
}

var errCut = errors.New("a reply before it was cut off")

// cut lets nothing more be written. What was is not the whole of a reply, and its client knows that by the connection's end.
func (o *outlet) cut() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		o.err = errCut
	}
}

// failed says that nothing can be written any more.
func (o *outlet) failed() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err != nil
}

// begin waits until no transfer is under way, and begins one, unless that before it has left nothing to write to.
func (o *outlet) begin() bool {
	o.transfer.Lock()
	if o.failed() {
		o.transfer.Unlock()
		return false
	}
	return true
}

func (o *outlet) end() {
	o.ended = time.Now()
	o.transfer.Unlock()
}

// idleLeft is what is left of the time for which a client may be idle, when it has asked nothing for so long. Only the
// stream that reads calls this, and begin.
func (o *outlet) idleLeft(idle time.Duration) time.Duration {
	if !o.transfer.TryLock() {
		return idle
	}
	defer o.transfer.Unlock()
	return idle - time.Since(o.ended)
}
