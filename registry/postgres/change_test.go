package postgres

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"cnamed/registry"
)

// TestMalformedValueIsNoChange: what no node writes is refused by all, rather than
// served by those that have not loaded it.
func TestMalformedValueIsNoChange(t *testing.T) {
	t.Parallel()
	for txt, good := range map[string]bool{
		strings.Repeat("a", 43): true, "": false, strings.Repeat("a", 42): false, strings.Repeat("a", 44): false,
		strings.Repeat("a", 42) + "=": false,
	} {
		value := registry.Value{TXT: txt, At: time.Unix(1700000000, 0)}
		for _, m := range []registry.Mutation{
			registry.PutValue{Username: uuid.New(), Value: value},
			registry.DropValue{Username: uuid.New(), Value: value},
		} {
			text, err := encodeBatch([]registry.Mutation{m})
			if err != nil {
				t.Fatal(err)
			}
			batch, err := decodeBatch([]byte(text))
			if good && (err != nil || len(batch) != 1) || !good && !errors.Is(err, errDamaged) {
				t.Errorf("%T of %q: %v, %v", m, txt, batch, err)
			}
		}
	}
}
