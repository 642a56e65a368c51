package store_test

import (
	"regexp"
	"strings"
	"testing"

	"sluice/store"
)

// at returns the position that text stands for.
func at(t testing.TB, text string) store.Position {
	t.Helper()
	p, err := store.ParsePosition(text)
	if err != nil {
		t.Fatalf("position %q: %v", text, err)
	}
	return p
}

func TestAPositionIsShortTextThatNeedsNoEscaping(t *testing.T) {
	for _, offset := range []uint64{0, 1, 42, 1 << 32, 1 << 53} {
		p := store.Position{Offset: offset, Nonce: store.NewNonce()}
		text := p.String()
		if !regexp.MustCompile(`^(0|[1-9][0-9]*)-[0-9a-v]{10}$`).MatchString(text) || len(text) > 27 {
			t.Errorf("offset %d: %q", offset, text)
		}
		if got := at(t, text); got != p {
			t.Errorf("%q is read as %v, want %v", text, got, p)
		}
	}
	if got := (store.Position{}).String(); got != "0-0000000000" {
		t.Errorf("zero position: %q", got)
	}
	if got := (store.Position{Offset: 7, Nonce: store.Nonce{255, 255, 255, 255, 255, 255}}).String(); got != "7-vvvvvvvvvs" {
		t.Errorf("highest nonce: %q", got)
	}
}

func TestWhatIsNoPositionIsRefused(t *testing.T) {
	for _, text := range []string{
		"", "-", "1", "1-", "-0000000000", "x-0000000000", "1-000000000", "1-00000000000", "1-000000000w", "1-000000000V", "1-00000 0000",
		"01-0000000000", "00-0000000000", "+1-0000000000", "-1-0000000000", " 1-0000000000", "1-0000000000 ", "1 -0000000000",
		"1-0000000000-end", "1--0000000000", "1-0000-00000", "0x1-0000000000", "1_0-0000000000", "1e3-0000000000", "1.0-0000000000",
		"18446744073709551616-0000000000", "99999999999999999999-0000000000", strings.Repeat("9", 1000) + "-0000000000",
		"1-0000000000\n", "1\x00-0000000000", "\u0661-0000000000", "1-000000000\xff",
		"1-0000000001", // its last bits mean nothing: another text for 1-0000000000
	} {
		if p, err := store.ParsePosition(text); err == nil {
			t.Errorf("%q is read as %v", text, p)
		}
	}
}

func TestNoncesDiffer(t *testing.T) {
	seen := make(map[store.Nonce]bool)
	for range 10_000 {
		n := store.NewNonce()
		if seen[n] {
			t.Fatalf("nonce %v twice", n)
		}
		seen[n] = true
	}
}

// FuzzParsePosition: one text per position, one position per text.
func FuzzParsePosition(f *testing.F) {
	for _, text := range []string{"0-0000000000", "42-3k9pqz01hg", "01-0000000000", "9007199254740992-vvvvvvvvvs", "1-0123456789", "-", ""} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := store.ParsePosition(text)
		if err != nil {
			return
		}
		if got := p.String(); got != text {
			t.Errorf("%q is read as %v, which is written %q", text, p, got)
		}
	})
}

func FuzzPositionIsReadAsItWasWritten(f *testing.F) {
	f.Add(uint64(0), []byte("abcdef"))
	f.Add(uint64(9_999_999_999_999_999), []byte("\x00\x00\x00\x00\x00\x01"))
	f.Fuzz(func(t *testing.T, offset uint64, nonce []byte) {
		p := store.Position{Offset: offset}
		copy(p.Nonce[:], nonce)
		got, err := store.ParsePosition(p.String())
		if offset > 1<<53 && err != nil {
			return // Redis could not count that far
		}
		if err != nil || got != p {
			t.Errorf("%v is written %q and read as %v, %v", p, p, got, err)
		}
	})
}

func TestTheHighestOffsetThatRedisCanCountIsAPosition(t *testing.T) {
	const most = 1<<53 - 1 // a Lua number is a double
	p := store.Position{Offset: most}
	if got := at(t, p.String()); got != p {
		t.Errorf("got %v", got)
	}
}
