package pki_test

import (
	"errors"
	"strings"
	"testing"

	"omca/pki"
)

func TestNewSerial(t *testing.T) {
	seen := make(map[pki.Serial]bool)
	for range 1000 {
		s := must[pki.Serial](t)(pki.NewSerial())
		if len(s) != 32 || s.Int().Sign() <= 0 || s.Int().BitLen() != 128 || seen[s] {
			t.Fatalf("serial %s: want 128 positive bits, never seen before", s)
		}
		seen[s] = true
	}
}

func TestParseSerial(t *testing.T) {
	for in, want := range map[string]pki.Serial{
		"1a2b": "1a2b", "1A:2B": "1a2b", "0x1A2B": "1a2b", "0X1a2b": "1a2b", "00:1a:2b": "1a2b", "0": "0", "0a": "a",
		strings.Repeat("ff:", 19) + "ff": pki.Serial(strings.Repeat("f", 40)),
	} {
		if got, err := pki.ParseSerial(in); got != want || err != nil {
			t.Errorf("%q: got %q, %v, want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"", "0x", ":", "xyz", "-1", "+1", "1_0", " 1", strings.Repeat("f", 41), strings.Repeat("0", 1000)} {
		if got, err := pki.ParseSerial(in); !errors.Is(err, pki.ErrInvalid) {
			t.Errorf("%q: got %q, %v", in, got, err)
		}
	}
	if n := pki.Serial("no serial").Int(); n.Sign() != 0 {
		t.Errorf("a string that is no serial: %s", n)
	}
}

func FuzzParseSerial(f *testing.F) {
	for _, s := range []string{"0", "0x1F", "aa:bb", "00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		s, err := pki.ParseSerial(in)
		if err != nil {
			return
		}
		again, err := pki.ParseSerial(string(s))
		if err != nil || again != s || s.Int().Text(16) != string(s) {
			t.Fatalf("%q: %q is not canonical: %q, %v", in, s, again, err)
		}
	})
}
