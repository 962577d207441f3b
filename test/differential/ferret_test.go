package differential

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"cnamed/dnsserver"
)

// ferretFile has the zones of the FerretDataset (https://github.com/dns-groot/FerretDataset at d33e4001, ValidZoneFileTests,
// whose licence is in it) that have no DNAME.
const ferretFile = "testdata/ferret.tar.gz"

// TestFerret runs the cases of the FerretDataset (NSDI 2022) that our zones can express: small zones, each with a query made
// for it, and the replies of BIND, NSD, Knot and PowerDNS. Ours is held to that of most of them.
func TestFerret(t *testing.T) {
	t.Parallel()
	files := readFerretFile(t)
	tally := make(map[string]int)
	used := make([]int, len(ferretDifferences))
	failures := 0
	for number := range 20_000 {
		zone, cases := files[fmt.Sprintf("ZoneFiles/%d.txt", number)], files[fmt.Sprintf("ExpectedResponses/%d.json", number)]
		if zone == nil {
			continue
		}
		server, reason := ferretServer(t, string(zone))
		if reason != "" {
			tally["not expressible: "+reason]++
			continue
		}
		for _, c := range readFerret(t, cases) {
			tally["compared"]++
			open := c.compare(t, server, used)
			if open == "" {
				continue
			}
			if failures++; failures > maxFailures {
				t.Fatal("and more")
			}
			t.Errorf("case %d, differs in%s\n%s", number, open, zone)
		}
	}
	t.Log(tally)
	if tally["compared"] < 7000 {
		t.Error("so few: the test shows less than it should")
	}
	for i, d := range ferretDifferences {
		if t.Logf("%6d times: %s", used[i], d.why); used[i] == 0 {
			t.Errorf("this difference did not occur: %s", d.why)
		}
	}
}

// readFerretFile returns the files in ferretFile by their names.
func readFerretFile(t *testing.T) map[string][]byte {
	t.Helper()
	f, err := os.Open(ferretFile)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	unpacked, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string][]byte)
	for archive := tar.NewReader(unpacked); ; {
		header, err := archive.Next()
		if err == io.EOF {
			return files
		}
		if err == nil {
			files[header.Name], err = io.ReadAll(archive)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// ferretCase is a query with the replies of some servers, each as lines of text.
type ferretCase struct {
	Query     struct{ Name, Type string }
	Responses []ferretResponse `json:"Expected Response"`
}

type ferretResponse struct {
	Servers string   `json:"Server/s"`
	Lines   []string `json:"Response"`
}

func readFerret(t *testing.T, data []byte) (cases []ferretCase) {
	t.Helper()
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	return cases
}

// rooted puts a name below "test.", since a zone of ours has at least two labels. All names are moved alike.
func rooted(name string) string { return name + "test." }

// ferretServer makes our server for a zone file, or says why the zone cannot be ours.
func ferretServer(t *testing.T, text string) (server *dnsserver.Server, reason string) {
	t.Helper()
	var config dnsserver.ZoneConfig
	parser := dns.NewZoneParser(strings.NewReader(text+"\n"), "", "")
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		rr.Header().Name = rooted(rr.Header().Name)
		switch rr := rr.(type) {
		case *dns.SOA:
			config.Origin = rr.Hdr.Name
			continue
		case *dns.DNAME:
			return nil, "DNAME"
		case *dns.NS:
			rr.Ns = rooted(rr.Ns)
		case *dns.CNAME:
			rr.Target = rooted(rr.Target)
		}
		config.Records = append(config.Records, rr.String())
	}
	if err := parser.Err(); err != nil {
		t.Fatal(err)
	}
	zone, err := dnsserver.NewZone(config, nil)
	if faults := faultsIn(t, err); len(faults) > 0 {
		reason, _, _ := strings.Cut(faults[0].Fault, " (")
		for _, field := range strings.Fields(reason) {
			if strings.HasSuffix(field, ".test.") {
				reason = strings.Replace(reason, field, "…", 1)
			}
		}
		return nil, reason
	}
	return &dnsserver.Server{Zones: dnsserver.NewZoneSet(zone)}, ""
}

// ferretReply is a reply reduced to what can be compared: the SOA is made by our server, and NS records of the apex beside
// an answer are what some servers add of their own accord.
type ferretReply struct {
	rcode      string
	aa         bool
	answer     []string
	authority  []string
	additional []string
}

func (c *ferretCase) compare(t *testing.T, server *dnsserver.Server, used []int) (open string) {
	t.Helper()
	request, err := new(dns.Msg).SetQuestion(rooted(c.Query.Name), dns.StringToType[c.Query.Type]).Pack()
	if err != nil {
		t.Fatal(err)
	}
	var m dns.Msg
	if err := m.Unpack(server.Answer(nil, request, dnsserver.Client{})); err != nil {
		t.Fatal(err)
	}
	ours := &ferretReply{rcode: dns.RcodeToString[m.Rcode], aa: m.Authoritative}
	for i, section := range []*[]string{&ours.answer, &ours.authority, &ours.additional} {
		for _, rr := range [][]dns.RR{m.Answer, m.Ns, m.Extra}[i] {
			*section = append(*section, text(rr))
		}
	}
	most := slices.MaxFunc(c.Responses, func(a, b ferretResponse) int {
		return len(strings.Fields(a.Servers)) - len(strings.Fields(b.Servers))
	})
	theirs := readFerretReply(most.Lines)
	origin := server.Zones.Zones()[0].Origin()
	ours.reduce(origin)
	theirs.reduce(origin)
	differs := ours.differing(theirs)
	if len(differs) == 0 {
		return ""
	}
	for i, d := range ferretDifferences {
		if slices.Equal(differs, d.parts) && d.explains(c, ours, theirs) {
			used[i]++
			return ""
		}
	}
	return fmt.Sprintf(" %s: %s %s\nours:   %+v\n%s: %+v", strings.Join(differs, ", "), c.Query.Name, c.Query.Type, *ours, most.Servers, *theirs)
}

func readFerretReply(lines []string) *ferretReply {
	r := new(ferretReply)
	section := new([]string)
	for _, line := range lines {
		switch key, rest, _ := strings.Cut(line, " "); {
		case key == "rcode":
			r.rcode = rest
		case key == "flags":
			r.aa = slices.Contains(strings.Fields(rest), "AA")
		case key == ";ANSWER":
			section = &r.answer
		case key == ";AUTHORITY":
			section = &r.authority
		case key == ";ADDITIONAL":
			section = &r.additional
		default:
			*section = append(*section, rootedLine(line))
		}
	}
	return r
}

// rootedLine puts the names of a record below "test.".
func rootedLine(line string) string {
	rr, err := dns.NewRR(line)
	if err != nil || rr == nil {
		return line // a question
	}
	rr.Header().Name = rooted(rr.Header().Name)
	switch rr := rr.(type) {
	case *dns.NS:
		rr.Ns = rooted(rr.Ns)
	case *dns.CNAME:
		rr.Target = rooted(rr.Target)
	}
	return text(rr)
}

func (r *ferretReply) reduce(origin string) {
	for _, section := range []*[]string{&r.answer, &r.authority, &r.additional} {
		for i, line := range *section {
			if owner, _, isSOA := strings.Cut(line, " IN SOA "); isSOA {
				(*section)[i] = strings.Fields(owner)[0] + " SOA"
			}
		}
		slices.Sort(*section)
		*section = slices.Compact(*section)
	}
	if len(r.answer) > 0 {
		r.authority = slices.DeleteFunc(r.authority, func(line string) bool {
			return strings.HasPrefix(line, origin+" ") && strings.Contains(line, " IN NS ")
		})
	}
}

func (r *ferretReply) differing(o *ferretReply) (parts []string) {
	for _, part := range []struct {
		name string
		same bool
	}{
		{"rcode", r.rcode == o.rcode}, {"aa", r.aa == o.aa}, {"answer", slices.Equal(r.answer, o.answer)},
		{"authority", slices.Equal(r.authority, o.authority)}, {"additional", slices.Equal(r.additional, o.additional)},
	} {
		if !part.same {
			parts = append(parts, part.name)
		}
	}
	return parts
}

// ferretDifferences is closed, like differences.
var ferretDifferences = []struct {
	parts    []string
	why      string
	explains func(c *ferretCase, ours, theirs *ferretReply) bool
}{
	{[]string{"additional"}, "BIND and NSD put the name servers beside any answer, and their addresses; Knot and PowerDNS do not",
		func(c *ferretCase, ours, theirs *ferretReply) bool {
			return len(c.Responses) == 2 && c.Query.Type != "NS" && len(ours.answer) > 0 && len(ours.additional) == 0
		}},
}
