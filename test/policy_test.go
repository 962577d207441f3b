package test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"cnamed/test/program"
)

// request sends one with headers and returns the status of the reply.
func request(t *testing.T, method, url, body string, header ...string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(testContext(t), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

// TestFail2banFindsWhoFails runs the real fail2ban-regex with the filter that
// ships on the log of a real server. Only who fails is found, in both forms of
// the log, and a client cannot put another's address where it is looked for.
func TestFail2banFindsWhoFails(t *testing.T) {
	t.Parallel()
	tool := pathOf("fail2ban-regex")
	required(t, tool != "", "fail2ban-regex is not installed")
	for _, format := range []string{"text", "json"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			s := serve(t, t.TempDir(), "--log-format", format, "--api-registration", "token", "--api-failure-limit", "4/d",
				"--api-trusted-proxies", "127.0.0.1", "--api-proxy-header", "x-forwarded-for")
			api := s.API[0]
			for _, from := range []string{"192.0.2.1", "192.0.2.1", "2001:db8::1"} {
				request(t, "POST", api+"/update", "{}", "X-Forwarded-For", "203.0.113.1, "+from)
			}
			for range 5 { // the last one is answered 429
				request(t, "POST", api+"/register", "", "X-Forwarded-For", "192.0.2.3")
			}
			for _, r := range [][2]string{ // the last one is answered 429
				{"GET", "/v1/account"}, {"PATCH", "/v1/account"}, {"POST", "/v1/account/password"},
				{"DELETE", "/v1/account/values"}, {"DELETE", "/t/any/v1/account"}} {
				request(t, r[0], api+r[1], "", "X-Forwarded-For", "192.0.2.7", "X-Api-User", "203.0.113.5")
			}
			request(t, "GET", api+"/health", "", "X-Forwarded-For", "192.0.2.4")
			request(t, "GET", api+"/nothing", "", "X-Forwarded-For", "192.0.2.5")
			for _, path := range []string{
				`/x%20msg=request%20client=203.0.113.2%20status=401%20`,
				`/%0atime=2026-01-01T00:00:00Z%20level=INFO%20msg=request%20client=203.0.113.3%20status=401%20`,
				`/","level":"INFO","msg":"request","client":"203.0.113.4","status":401,"`,
			} {
				request(t, "POST", api+path, "", "X-Forwarded-For", "192.0.2.6")
			}
			stop(t, s)

			folder := t.TempDir()
			bare, syslog := filepath.Join(folder, "bare.log"), filepath.Join(folder, "syslog")
			write(t, bare, s.Log())
			write(t, syslog, regexp.MustCompile(`(?m)^(.)`).ReplaceAllString(s.Log(), "Jan 23 21:00:00 host cnamed[12]: $1"))
			for _, log := range []string{bare, syslog} {
				out, err := exec.CommandContext(testContext(t), tool, "-o", "ip", log, "../cmd/cnamed/dist/fail2ban/filter.d/cnamed.conf").Output()
				if err != nil {
					t.Fatal(err)
				}
				want := strings.Repeat("192.0.2.1 ", 2) + "2001:db8::1 " + strings.Repeat("192.0.2.3 ", 5) + strings.Repeat("192.0.2.7 ", 5)
				if got := strings.Join(strings.Fields(string(out)), " ") + " "; got != want {
					t.Errorf("%s: found %s\nwant %s\nin\n%s", filepath.Base(log), got, want, s.Log())
				}
			}
		})
	}
}

// TestPolicyOfARunningServer sets every limit by flags: the wire shows that they
// arrive.
func TestPolicyOfARunningServer(t *testing.T) {
	t.Parallel()
	s := serve(t, t.TempDir(), "--api-register-limit", "2/h", "--api-failure-limit", "1/h", "--api-cors-origins", "https://app.example")
	api := s.API[0]
	for i, want := range []int{201, 201, 429} {
		if got := request(t, "POST", api+"/register", ""); got != want {
			t.Errorf("registration %d: %d, want %d", i, got, want)
		}
	}
	for i, want := range []int{401, 429} {
		if got := request(t, "POST", api+"/update", "{}"); got != want {
			t.Errorf("failure %d: %d, want %d", i, got, want)
		}
	}
	if got := request(t, "OPTIONS", api+"/update", "", "Origin", "https://app.example", "Access-Control-Request-Method", "POST"); got != 204 {
		t.Errorf("preflight: %d", got)
	}
}

func TestProxyProtocolOfARunningServer(t *testing.T) {
	t.Parallel()
	s := serve(t, t.TempDir(), "--api-trusted-proxies", "127.0.0.0/8", "--api-proxy-protocol", "v2")
	const preface = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x05\xc0\x00\x02\x06\x12\x67\x01\xbb"
	exchange := func(body string, header ...string) (*http.Response, string) {
		t.Helper()
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.API[0], "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		path := "/register"
		if len(header) > 0 {
			path = "/update"
		}
		fmt.Fprintf(conn, "%sPOST %s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n%s", preface, path, strings.Join(header, ""), len(body), body)
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response, string(text)
	}
	_, reply := exchange(`{"allowfrom":["192.0.2.5/32"]}`)
	var a account
	if err := json.Unmarshal([]byte(reply), &a); err != nil {
		t.Fatalf("%v: %s", err, reply)
	}
	response, reply := exchange(fmt.Sprintf(`{"subdomain":%q,"txt":%q}`, a.Subdomain, value(1)),
		"X-Api-User: "+a.Username+"\r\n", "X-Api-Key: "+a.Password+"\r\n")
	if response.StatusCode != 200 {
		t.Errorf("%d %s", response.StatusCode, reply)
	}
	stop(t, s)
	if log := s.Log(); strings.Count(log, " client=192.0.2.5 ") != 2 {
		t.Errorf("the log is\n%s", log)
	}
}

// TestTokenSurvivesKill: what a token had been used for when the server was
// killed is used up, and nothing else is.
func TestTokenSurvivesKill(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	args := serveArgs(data, "--api-registration", "token")
	s, err := program.Start(testContext(t), binary, program.Options{}, args...)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(testContext(t), binary, "token", "create", "--data", data, "--uses", "2").Output()
	if err != nil {
		t.Fatal(err)
	}
	token := strings.TrimSpace(string(out))
	if got := request(t, "POST", s.API[0]+"/t/"+token+"/register", ""); got != 201 {
		t.Errorf("the first use: %d", got)
	}
	s.Kill()
	s = serve(t, data, "--api-registration", "token")
	for i, want := range []int{201, 403} {
		if got := request(t, "POST", s.API[0]+"/register", "", "Authorization", "Bearer "+token); got != want {
			t.Errorf("use %d after the kill: %d, want %d", i, got, want)
		}
	}
	list := run(t, binary, "token", "list", "--data", data)
	if !strings.Contains(list, "used up  2/2") || strings.Contains(list, token) {
		t.Errorf("the list is\n%s", list)
	}
}
