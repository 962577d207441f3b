package acmeclient

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// errPollTimeout is why a wait ends whose caller would have waited on.
var errPollTimeout = errors.New("the CA has not settled it in time")

const (
	firstPoll   = 20 * time.Millisecond
	slowestPoll = 3 * time.Second
)

// poll calls fetch until it says that what it fetched is settled. last is the reply after which to wait first; when it is nil
// there is no first wait.
//
// RFC 8555 §7.4, §7.5.1: a Retry-After of the CA is obeyed, up to the client's bound. CAs that send none are asked in growing
// steps from a few milliseconds, because some of them are done by then; a step is at most half of the time that has passed,
// so that little time is lost to waiting too long.
func (c *Client) poll(ctx context.Context, last *response, fetch func(context.Context) (*response, bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.pollTimeout(), fmt.Errorf("%w (%v)", errPollTimeout, c.pollTimeout()))
	defer cancel()
	steps := pace{next: firstPoll, limit: slowestPoll}
	for {
		if last != nil {
			wait := steps.step()
			if asked, ok := last.retryAfter(); ok {
				wait = max(firstPoll, min(asked, c.maxRetryAfter()))
			}
			if err := sleep(ctx, wait); err != nil {
				return err
			}
		}
		res, settled, err := fetch(ctx)
		if err != nil || settled {
			return err
		}
		last = res
	}
}
