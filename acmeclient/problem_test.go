package acmeclient

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestProblemSpeaksTheCAsWords(t *testing.T) {
	t.Parallel()
	for document, want := range map[string]string{
		`{"type": "urn:ietf:params:acme:error:caa", "detail": "CAA record for example.com prevents issuance",
		  "identifier": {"type": "dns", "value": "example.com"}}`: "example.com: CAA record for example.com prevents issuance (caa)",
		`{"type": "urn:ietf:params:acme:error:rejectedIdentifier", "detail": "Cannot issue",
		  "subproblems": [
		    {"type": "urn:ietf:params:acme:error:malformed", "detail": "Invalid underscore", "identifier": {"type": "dns", "value": "_a.example"}},
		    {"type": "urn:ietf:params:acme:error:rejectedIdentifier", "detail": "Not for this CA", "identifier": {"type": "dns", "value": "b.example"}}
		  ]}`: "Cannot issue (rejectedIdentifier); _a.example: Invalid underscore (malformed); b.example: Not for this CA (rejectedIdentifier)",
		`{"type": "https://ca.example/errors/odd", "title": "Odd"}`: "Odd (https://ca.example/errors/odd)",
		`{"type": "about:blank", "title": "Teapot", "status": 418}`: "Teapot (418 I'm a teapot)",
		`{"type": "urn:ietf:params:acme:error:serverInternal"}`:     "the CA gives no details (serverInternal)",
		`{"detail": "two\nlines and \u001b[31mred\u202e"}`:          "two lines and ?[31mred?",
	} {
		p := parseProblem([]byte(document))
		if p == nil {
			t.Errorf("not parsed: %s", document)
		} else if got := p.Error(); got != want {
			t.Errorf("problem reads\n %q, want\n %q", got, want)
		}
	}
	for _, document := range []string{"", "{}", "[]", "null", "12", `{"type": 5}`, "<html>", `{"hello": "world"}`} {
		if p := parseProblem([]byte(document)); p != nil {
			t.Errorf("%q was taken for a problem: %v", document, p)
		}
	}
}

func TestProblemHintsAreKept(t *testing.T) {
	t.Parallel()
	res := &response{method: "POST", url: "https://ca.example/new-order", status: 403,
		header: http.Header{"Link": {`<https://ca.example/directory>;rel="index", </terms/2>; rel="terms-of-service"`}},
		body:   []byte(`{"type": "urn:ietf:params:acme:error:userActionRequired", "detail": "new terms", "instance": "https://ca.example/agree/1"}`)}
	p, ok := res.failure().(*Problem)
	if !ok || p.TermsOfService != "https://ca.example/terms/2" || p.Status != 403 {
		t.Fatalf("problem %#v", p)
	}
	if hint := p.Hint(); hint != "visit https://ca.example/agree/1" {
		t.Errorf("hint %q", hint)
	}
	p.Instance = ""
	if hint := p.Hint(); !strings.HasSuffix(hint, "see https://ca.example/terms/2") {
		t.Errorf("hint %q", hint)
	}
}

func TestHintsOfSeveralErrorsJoin(t *testing.T) {
	t.Parallel()
	var list errorList
	list.add(&DomainError{"a.example", &Problem{Type: ProblemCAA, Detail: "no"}})
	list.add(&DomainError{"b.example", &Problem{Type: ProblemCAA, Detail: "no"}})
	list.add(&DomainError{"c.example", &Problem{Type: ProblemRateLimited, Detail: "slow down"}})
	err, ok := list.err().(interface{ Hint() string })
	if want := "the CAA records of the domain must name the CA; try again later"; !ok || err.Hint() != want {
		t.Errorf("hint %q, want %q", err.Hint(), want)
	}
}

func TestLinksAreFound(t *testing.T) {
	t.Parallel()
	res := &response{url: "https://ca.example/cert/1", header: http.Header{"Link": {
		`<https://ca.example/dir>;rel="index"`,
		`<https://ca.example/cert/1/alternate/1>;rel="alternate"`,
		`</cert/1/alternate/2>; title="a, b; c"; REL=Alternate, <3>;rel="up alternate"`,
		`<no end`, `no start>;rel="alternate"`, ``, `<4>`, `<5>;rel`,
	}}}
	want := []string{"https://ca.example/cert/1/alternate/1", "https://ca.example/cert/1/alternate/2", "https://ca.example/cert/3"}
	if got := res.links("alternate"); !slices.Equal(got, want) {
		t.Errorf("links %q, want %q", got, want)
	}
}
