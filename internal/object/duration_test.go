package object

import (
	"strings"
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	for in, want := range map[string]time.Duration{
		"1y": Year, "1w": Week, "1d": Day, "36h": 36 * time.Hour, "1d12h": 36 * time.Hour, "90": 90 * time.Second,
		"5m": 5 * time.Minute, "1ns": 1, "2us": 2000, "3ms": 3e6, "1y2w3d4h5m6s7ms8us9ns": Year + 2*Week + 3*Day + 4*time.Hour + 5*time.Minute + 6*time.Second + 7008009,
		"100y": 100 * Year, "007s": 7 * time.Second, "0y1s": time.Second,
	} {
		if got, err := ParseDuration(in); err != nil || got != want {
			t.Errorf("ParseDuration(%q) = %v, %v, want %v", in, got, err, want)
		}
	}
}

func TestParseDurationRefuses(t *testing.T) {
	for in, want := range map[string]string{
		"": "write whole numbers", "1.5h": "unit", "h": "write whole numbers", "-1h": "write whole numbers", "+1h": "write whole numbers",
		"0": "not more than zero", "0s": "not more than zero", "1h1h": "each unit once", "1m1h": "longest first", "1 d": "unit", "1mo": `unit "mo" is none of`,
		"1Y": "unit", "101y": "more than 100y", "100y1ns": "more than 100y", "9223372036854775807y": "more than 100y", "99999999999999999999s": "write whole numbers",
		"bogus": "write whole numbers", "٣h": "write whole numbers", strings.Repeat("1", 64): "64 characters, at most 63",
	} {
		_, err := ParseDuration(in)
		wantInvalid(t, err, want)
	}
}

func TestFormatDuration(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"1y": Year, "1w": Week, "10d": 10 * Day, "1d12h": 36 * time.Hour, "1m30s": 90 * time.Second, "0s": 0, "1us5ns": 1005, "1y30d": Year + 30*Day,
	} {
		if got := FormatDuration(d); got != want {
			t.Errorf("FormatDuration(%v) = %q, want %q", d, got, want)
		}
	}
}

func FuzzParseDuration(f *testing.F) {
	for _, s := range []string{"1y", "1d12h", "90", "1.5h", "9999999999999999999", "1h1h", "100y"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDuration(s)
		if err != nil {
			wantInvalid(t, err, "invalid duration")
			return
		}
		if d <= 0 || d > maxDuration {
			t.Errorf("%q is %d", s, d)
		}
		if back, err := ParseDuration(FormatDuration(d)); err != nil || back != d {
			t.Errorf("%q is %d, written %q, read %d, %v", s, d, FormatDuration(d), back, err)
		}
	})
}
