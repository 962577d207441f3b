package acmeclient_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"cnamed/acmeclient"
	"cnamed/test/ca"
)

// records is the smallest possible Solver: the DNS server itself.
type records struct{ sync.Map }

func (r *records) Present(_ context.Context, domain string, values []string) error {
	r.Store("_acme-challenge."+domain+".", values)
	return nil
}

func (r *records) CleanUp(_ context.Context, domain string, _ []string) error {
	r.Delete("_acme-challenge." + domain + ".")
	return nil
}

func (r *records) ServeDNS(w dns.ResponseWriter, query *dns.Msg) {
	reply := new(dns.Msg).SetReply(query)
	name := query.Question[0].Name
	if values, ok := r.Load(strings.ToLower(name)); ok {
		for _, value := range values.([]string) {
			header := dns.RR_Header{Name: name, Rrtype: dns.TypeTXT, Class: dns.ClassINET}
			reply.Answer = append(reply.Answer, &dns.TXT{Hdr: header, Txt: []string{value}})
		}
	}
	w.WriteMsg(reply)
}

// A certificate for a domain and its wildcard, from a test CA that validates at a DNS server in this program. With a real CA
// the parts above the line are not needed: the domain's own DNS is where the solver puts the values.
func Example() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	solver := new(records)
	server := &dns.Server{Listener: listener, Handler: solver}
	go server.ActivateAndServe()
	defer server.Shutdown()
	authority, err := ca.Start(ca.Options{Resolver: listener.Addr().String()})
	if err != nil {
		log.Fatal(err)
	}
	defer authority.Close()

	// ------------------------------------------------------------------------------------------------

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	accountKey, err := acmeclient.EC256.Generate()
	if err != nil {
		log.Fatal(err)
	}
	client := &acmeclient.Client{
		Directory:  authority.Directory(), // or acmeclient.DirectoryURL("letsencrypt-staging")
		Key:        accountKey,
		HTTPClient: authority.HTTPClient(),
		UserAgent:  "example/1.0",
	}
	if _, err := client.Register(ctx, acmeclient.AccountRequest{TermsAgreed: true}); err != nil {
		log.Fatal(err)
	}
	certificateKey, err := acmeclient.EC256.Generate()
	if err != nil {
		log.Fatal(err)
	}
	certificate, err := client.Obtain(ctx, acmeclient.Request{
		Names:  []string{"example.com", "*.example.com"},
		Key:    certificateKey,
		Solver: solver,
		Observe: func(e acmeclient.Event) {
			if e.Kind == acmeclient.ChallengePresented {
				fmt.Println("presented:", e.Name)
			}
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("issued:", certificate.Leaf.DNSNames)
	// Output:
	// presented: example.com
	// issued: [example.com *.example.com]
}
