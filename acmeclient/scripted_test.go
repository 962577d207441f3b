package acmeclient

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// scriptedCA is a CA without a network: a RoundTripper. It has a directory, nonces and one account; the test answers the rest.
// In a synctest bubble, where time is not real, it shows how long the client waits.
type scriptedCA struct {
	// answer gets the requests that the CA does not know how to answer by itself. A nil answer is a 404.
	answer func(r *http.Request, payload string) *http.Response

	mu     sync.Mutex
	nonces int
	seen   []string // "POST /order"
}

func (s *scriptedCA) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	res := s.reply(r)
	res.Request = r
	return res, nil
}

func (s *scriptedCA) reply(r *http.Request) *http.Response {
	s.mu.Lock()
	s.nonces++
	nonce := fmt.Sprintf("nonce%d", s.nonces)
	s.seen = append(s.seen, r.Method+" "+r.URL.Path)
	s.mu.Unlock()

	res := (*http.Response)(nil)
	if s.answer != nil {
		res = s.answer(r, jwsPayload(r))
	}
	switch {
	case res != nil:
	case r.URL.Path == "/dir":
		res = reply(200, `{"newNonce": "https://ca.test/nonce", "newAccount": "https://ca.test/account", "newOrder": "https://ca.test/order"}`)
	case r.URL.Path == "/nonce":
		res = reply(200, "")
	case r.URL.Path == "/account":
		res = reply(200, `{"status": "valid"}`, "Location", "/account/1")
	default:
		res = reply(404, "no such page")
	}
	if r.URL.Path != "/dir" && res.Header.Get("Replay-Nonce") == "" {
		res.Header.Set("Replay-Nonce", nonce)
	}
	return res
}

// reply makes a response, with headers in pairs of name and value.
func reply(status int, body string, headers ...string) *http.Response {
	h := make(http.Header)
	for i := 0; i < len(headers); i += 2 {
		h.Add(headers[i], headers[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body))}
}

func problem(status int, kind, detail string, headers ...string) *http.Response {
	document, err := json.Marshal(map[string]any{"type": problemSpace + kind, "detail": detail, "status": status})
	if err != nil {
		panic(err)
	}
	return reply(status, string(document), headers...)
}

func jwsPayload(r *http.Request) string {
	if r.Method != http.MethodPost {
		return ""
	}
	var jws struct{ Payload string }
	if err := json.NewDecoder(r.Body).Decode(&jws); err != nil {
		panic(err)
	}
	payload, err := base64.RawURLEncoding.DecodeString(jws.Payload)
	if err != nil {
		panic(err)
	}
	return string(payload)
}

func (s *scriptedCA) client(t testing.TB) *Client {
	return &Client{Directory: "https://ca.test/dir", Key: newKey(t, EC256), HTTPClient: &http.Client{Transport: s}}
}

func (s *scriptedCA) count(request string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, seen := range s.seen {
		if seen == request {
			n++
		}
	}
	return n
}
