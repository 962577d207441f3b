package httpapi_test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"cnamed/httpapi"
	"cnamed/registry"
)

// TestGolden sends the requests of testdata/*.txt over a socket, byte by byte,
// to the API on a real registry, and compares the replies.
//
// A file is a txtar archive: a comment, and pairs of "request" and "reply". The
// lines of a header end in CRLF on the wire. The last newline of a section is
// not sent; a body that ends in one has an empty line after it. A reply to
// /register defines {username}, {password} and {subdomain} for what follows,
// and so does one that rotates the password, but for {old}, which is then the
// password before; {date} and {time} stand for any, {seconds} for those of
// Retry-After. Each pair has its own connection.
//
// Lines of the comment like "setting: registration = token" set options of the
// API, see options. There are tokens: {token}, {once} for one use, {revoked}; and
// Basic authentication with {token} in it, see makeTokens.
func TestGolden(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no golden files", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}

			reg := newRegistry(t)
			g := &golden{T: t, addr: serve(t, httpapi.New(reg, options(t, archive.Comment)))}
			g.makeTokens(reg)
			g.run(archive)
			if os.Getenv("UPDATE_GOLDEN") != "" {
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

type golden struct {
	*testing.T
	addr string
	vars []string // pairs of a placeholder and its value
	more []string // those that last
}

var settingLine = regexp.MustCompile(`(?m)^setting: (\S+) = (.*)$`)

// options reads the settings in the comment of a golden file.
func options(t *testing.T, comment []byte) httpapi.Options {
	t.Helper()
	o := httpapi.Options{Domain: "auth.example.org", Reserved: func(label string) bool { return label == "www" }}
	for _, m := range settingLine.FindAllStringSubmatch(string(comment), -1) {
		switch key, value := m[1], m[2]; key {
		case "registration":
			o.Registration = map[string]httpapi.RegistrationMode{
				"token": httpapi.RegistrationToken, "closed": httpapi.RegistrationClosed}[value]
		case "registrations-an-hour":
			o.RegisterLimit = httpapi.Rate{N: int(value[0] - '0'), Per: time.Hour}
		case "failures-an-hour":
			o.FailureLimit = httpapi.Rate{N: int(value[0] - '0'), Per: time.Hour}
		case "trusted-proxies":
			for p := range strings.SplitSeq(value, ", ") {
				o.TrustedProxies = append(o.TrustedProxies, netip.MustParsePrefix(p))
			}
		case "proxy-header":
			o.ProxyHeader = httpapi.ProxyHeader(value)
		case "subdomains":
			o.ChosenNames = value == "chosen"
		case "cors-origins":
			o.CORSOrigins = strings.Split(value, ", ")
		default:
			t.Fatalf("unknown setting %s", key)
		}
	}
	return o
}

func (g *golden) makeTokens(reg *registry.Registry) {
	g.Helper()
	make := func(uses int) (registry.Token, string) {
		token, secret, err := reg.CreateToken(g.Context(), registry.TokenRequest{MaxUses: uses})
		if err != nil {
			g.Fatal(err)
		}
		return token, secret.Reveal()
	}
	_, token := make(0)
	_, once := make(1)
	revoked, revokedSecret := make(0)
	if err := reg.RevokeToken(g.Context(), revoked.ID); err != nil {
		g.Fatal(err)
	}
	// In base64 the first two bytes differ between the alphabets; the lengths
	// need different padding.
	g.more = []string{"{token}", token, "{once}", once, "{revoked}", revokedSecret,
		"{basic-user}", base64.StdEncoding.EncodeToString([]byte(token + ":")),
		"{basic-password}", base64.StdEncoding.EncodeToString([]byte("\xff\xfe:" + token)),
		"{basic-url}", base64.URLEncoding.EncodeToString([]byte("\xff\xfe:" + token)),
		"{basic-raw}", base64.RawStdEncoding.EncodeToString([]byte("\xff\xfe:" + token)),
		"{basic-rawurl}", base64.RawURLEncoding.EncodeToString([]byte("\xff\xfe:" + token)),
		"{basic-bad}", base64.StdEncoding.EncodeToString([]byte("x:" + token + "x")),
	}
	g.vars = g.more
}

func (g *golden) run(archive *txtar.Archive) {
	for i := 0; i+1 < len(archive.Files); i += 2 {
		request, reply := &archive.Files[i], &archive.Files[i+1]
		if !strings.HasPrefix(request.Name, "request") || !strings.HasPrefix(reply.Name, "reply") {
			g.Fatalf("%s, %s: want a request and a reply", request.Name, reply.Name)
		}
		got := g.exchange(string(request.Data))
		if want := string(reply.Data); got != want {
			if os.Getenv("UPDATE_GOLDEN") != "" {
				reply.Data = []byte(got)
				continue
			}
			g.Errorf("%s\n--- got\n%s--- want\n%s", request.Name, got, want)
		}
	}
}

var (
	retryLine = regexp.MustCompile(`(?m)^Retry-After: \d+$`)
	dateLine  = regexp.MustCompile(`(?m)^Date: .*$`)
	timeText  = regexp.MustCompile(`"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"`)
)

func (g *golden) exchange(text string) string {
	g.Helper()
	text = strings.NewReplacer(g.vars...).Replace(strings.TrimSuffix(text, "\n"))
	header, body, _ := strings.Cut(text+"\n", "\n\n")
	body = strings.TrimSuffix(body, "\n")
	wire := strings.ReplaceAll(strings.TrimSuffix(header, "\n"), "\n", "\r\n") + "\r\n\r\n" + body

	conn, err := net.Dial("tcp", g.addr)
	if err != nil {
		g.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, wire); err != nil {
		g.Fatal(err)
	}
	var raw bytes.Buffer
	method, _, _ := strings.Cut(text, " ")
	res, err := http.ReadResponse(bufio.NewReader(io.TeeReader(conn, &raw)), &http.Request{Method: method})
	if err != nil {
		g.Fatalf("reading the reply: %v", err)
	}
	if _, err := io.ReadAll(res.Body); err != nil {
		g.Fatalf("reading the body: %v", err)
	}
	got := strings.ReplaceAll(raw.String(), "\r\n", "\n") + "\n"
	got = retryLine.ReplaceAllString(got, "Retry-After: {seconds}")
	return g.mask(res.StatusCode, dateLine.ReplaceAllString(got, "Date: {date}"))
}

// mask puts placeholders in the place of what the server drew.
func (g *golden) mask(status int, reply string) string {
	g.Helper()
	old := ""
	if i := slices.Index(g.vars, "{password}"); i >= 0 {
		old = g.vars[i+1]
	}
	if status == http.StatusCreated || status == http.StatusOK && strings.Contains(reply, `"password":`) {
		var c struct{ Username, Password, Subdomain string }
		if err := json.Unmarshal([]byte(reply[strings.Index(reply, "{\""):]), &c); err != nil {
			g.Fatal(err)
		}
		g.vars = []string{"{old}", old, "{username}", c.Username, "{password}", c.Password, "{subdomain}", c.Subdomain,
			"{USERNAME}", strings.ToUpper(c.Username), "{nodashes}", strings.ReplaceAll(c.Username, "-", "")}
		g.vars = append(g.vars, g.more...)
	}
	for i := 0; i+1 < len(g.vars); i += 2 {
		if g.vars[i+1] != "" {
			reply = strings.ReplaceAll(reply, g.vars[i+1], g.vars[i])
		}
	}
	return timeText.ReplaceAllString(reply, `"{time}"`)
}

// TestReplyOfRegisterHasItsForm checks what the golden files mask.
func TestReplyOfRegisterHasItsForm(t *testing.T) {
	t.Parallel()
	addr := serve(t, httpapi.New(newRegistry(t), httpapi.Options{Domain: "auth.example.org."}))
	res, err := http.Post("http://"+addr+"/register", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	// acme-dns has version 4 for both. What parses one version parses the other.
	const form7, form4 = `[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`,
		`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`
	form := regexp.MustCompile(fmt.Sprintf(`^\{"username":"%s","password":"[A-Za-z0-9_-]{40}",`+
		`"fulldomain":"(%s)\.auth\.example\.org","subdomain":"(%s)","allowfrom":\[\]\}$`, form7, form4, form4))
	m := form.FindSubmatch(body)
	if m == nil || !bytes.Equal(m[1], m[2]) {
		t.Errorf("body %s", body)
	}
}
