package kind_test

import (
	"testing"

	"sluice/store/kind"
)

// BenchmarkDraftPayload checks one raw message, as every replica does that takes it in.
func BenchmarkDraftPayload(b *testing.B) {
	for name, payload := range map[string]string{
		"orders":           `{"order":42,"state":"paid"}`,
		kind.Notifications: `{"type":"info","title":"Order paid","message":"Order 42 is paid"}`,
		"progress:t1":      `{"progress":42,"message":"working"}`,
	} {
		b.Run("channel="+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := kind.DraftPayload(name, []byte(payload), 65536); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
