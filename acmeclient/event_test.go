package acmeclient

import "testing"

func TestEventKindsHaveDistinctNames(t *testing.T) {
	t.Parallel()
	names := make(map[string]EventKind)
	for kind := OrderOpened; int(kind) < len(eventKinds); kind++ {
		if other, ok := names[kind.String()]; ok || kind.String() == "" {
			t.Errorf("%d and %d are both %q", other, kind, kind)
		}
		names[kind.String()] = kind
	}
	if got := EventKind(0).String(); got != "EventKind(0)" {
		t.Errorf("no kind is %q", got)
	}
}
