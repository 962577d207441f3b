package delegate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"
)

// View is what one server says.
type View struct {
	Server string `json:"server"` // its name and address
	Says   string `json:"says"`   // such as "CNAME a.example.", "no such name", or why there is no answer
}

func (v View) String() string { return v.Server + ": " + v.Says }

// answer is the reply of one endpoint about one name, understood.
type answer struct {
	endpoint endpoint
	err      error    // there was no usable answer
	cname    string   // the target, canonical; empty when the name has no CNAME
	txt      []string // the values of the TXT records at the end of the chain, or at the name itself
	missing  string   // in what way there is neither: "no such name" or "no such record"
}

// says describes the answer. Two answers with the same text agree.
func (a answer) says() string {
	switch {
	case a.err != nil:
		return a.err.Error()
	case a.cname != "":
		return "CNAME " + a.cname
	case len(a.txt) > 0:
		return fmt.Sprintf("TXT %q", a.txt)
	}
	return a.missing
}

func (a answer) view() View { return View{a.endpoint.label, a.says()} }

var (
	errNotAuthoritative = errors.New("its answer is not authoritative: it does not know the zone, or something on the way answers for it")
	errReferral         = errors.New("it refers to other servers")
)

// askAll puts one question to all endpoints at once. The answers are in their order.
func (r *Resolver) askAll(ctx context.Context, endpoints []endpoint, name string, qtype uint16) []answer {
	answers := make([]answer, len(endpoints))
	var group errgroup.Group
	for i, e := range endpoints {
		group.Go(func() error {
			reply, err := r.ask(ctx, e.address, name, qtype, e.recurse)
			if err != nil {
				var server *ServerError
				if errors.As(err, &server) {
					err = server.Err
				}
				answers[i] = answer{endpoint: e, err: err}
				return nil
			}
			answers[i] = understand(reply, name, e)
			return nil
		})
	}
	_ = group.Wait() // the errors are in the answers
	return answers
}

// understand reads a reply, NOERROR or NXDOMAIN, to a question about name for CNAME or TXT.
func understand(reply *dns.Msg, name string, e endpoint) answer {
	a := answer{endpoint: e}
	if !e.recurse && !reply.Authoritative {
		a.err = errNotAuthoritative
		if len(reply.Answer) == 0 && slices.ContainsFunc(reply.Ns, isNS) {
			a.err = errReferral
		}
		return a
	}
	at := name
	for range len(reply.Answer) { // each CNAME leads at most one step on
		next := cnameOf(reply.Answer, at)
		if next == "" {
			break
		}
		if a.cname == "" {
			a.cname = next
		}
		at = next
	}
	for _, rr := range reply.Answer {
		if txt, ok := rr.(*dns.TXT); ok && sameName(txt.Hdr.Name, at) {
			a.txt = append(a.txt, strings.Join(txt.Txt, "")) // RFC 8555 §8.4, as validators do
		}
	}
	a.missing = "no such record"
	if reply.Rcode == dns.RcodeNameError {
		a.missing = "no such name"
	}
	return a
}

func isNS(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeNS }

// cnameOf returns the canonical target of the CNAME at name in rrs, or "".
func cnameOf(rrs []dns.RR, name string) string {
	for _, rr := range rrs {
		if cname, ok := rr.(*dns.CNAME); ok && sameName(cname.Hdr.Name, name) {
			return dns.CanonicalName(cname.Target)
		}
	}
	return ""
}

// usable returns the answers that say something.
func usable(answers []answer) []answer {
	return slices.DeleteFunc(slices.Clone(answers), func(a answer) bool { return a.err != nil })
}

func views(answers []answer) []View {
	list := make([]View, 0, len(answers))
	for _, a := range answers {
		list = append(list, a.view())
	}
	return list
}
