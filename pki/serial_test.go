package pki_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"omca/pki"
)

// A serial has 128 random bits behind the time, and is in the order of time.
func TestNewSerial(t *testing.T) {
	seen := make(map[string]bool)
	var last pki.Serial
	for i := range 1000 {
		at := epoch.Add(time.Duration(i) * time.Hour)
		s := must[pki.Serial](t)(pki.NewSerial(at))
		random := string(s)[8:]
		if len(s) != 40 || s.Int().Sign() <= 0 || seen[random] {
			t.Fatalf("serial %s: want 20 positive octets, 16 of them never seen before", s)
		}
		if s <= last {
			t.Fatalf("serial %s, made after %s, comes before it", s, last)
		}
		seen[random], last = true, s
	}
	for _, year := range []int{1990, 2105} { // no octet more, or less to print
		s := must[pki.Serial](t)(pki.NewSerial(time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)))
		if len(s) != 40 || s.Int().BitLen() > 159 {
			t.Errorf("in %d: serial %s of %d bits", year, s, s.Int().BitLen())
		}
	}
	for bit := range 128 { // each of them is random
		var ones uint
		for range 200 {
			ones += must[pki.Serial](t)(pki.NewSerial(epoch)).Int().Bit(bit)
		}
		if ones == 0 || ones == 200 {
			t.Errorf("bit %d is always the same", bit)
		}
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
