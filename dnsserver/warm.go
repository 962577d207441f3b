package dnsserver

// A Warmer is Names that can bring what it needs for several names into the processor's cache at once. Of a million names
// hardly any is there already, and one after the other costs a wait for the memory each. A ZoneSet has one, that of the first
// zone which has Names that are one.
type Warmer interface {
	Names
	// Warm is told which labels AppendTXT may be asked for next, in the case of the clients. It has no effect but on the
	// time that this takes, keeps nothing, and allocates nothing.
	Warm(labels [][]byte)
}

// warmFrom is how many requests there have to be: with fewer there is nothing to gain.
const warmFrom = 3

// warm tells Names of the requests that are about to be answered, before they are read: what is no label, or one of another
// zone, costs nothing but time. It returns labels, whose memory it uses.
func (s *Server) warm(p packets, n int, labels [][]byte) [][]byte {
	defer func() {
		if v := recover(); v != nil {
			s.logPanic(v, "they are answered all the same")
		}
	}()
	if n < warmFrom || s.Zones.warmer == nil {
		return labels
	}
	labels = labels[:0]
	for i := range n {
		request, _ := p.request(i)
		if len(request) <= headerSize {
			continue
		}
		label := request[headerSize+1:]
		if size := int(request[headerSize]); size <= min(maxLabelSize, len(label)) {
			labels = append(labels, label[:size])
		}
	}
	s.Zones.warmer.Warm(labels)
	return labels
}
