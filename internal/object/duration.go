package object

import (
	"strconv"
	"strings"
	"time"
)

// A day, a week and a year of 365 days, as durations are written.
const (
	Day  = 24 * time.Hour
	Week = 7 * Day
	Year = 365 * Day
)

// maxDuration is the longest duration accepted, well inside time.Duration.
const maxDuration = 100 * Year

type unit struct {
	name string
	size time.Duration
}

// units lists the units, longest first, in the order in which they are written.
func units() []unit {
	return []unit{
		{"y", Year}, {"w", Week}, {"d", Day}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second},
		{"ms", time.Millisecond}, {"us", time.Microsecond}, {"ns", time.Nanosecond},
	}
}

// ParseDuration reads whole numbers with units, longest first: "1y", "36h",
// "1d12h". A number alone is seconds. Units are y (365 days), w, d, h, m, s,
// ms, us and ns. The result is positive and at most 100 years. Errors are
// [ca.ErrInvalid].
func ParseDuration(s string) (time.Duration, error) {
	if len(s) > maxPart {
		return 0, Invalidf("invalid duration %q: %d characters, at most %d", clip(s), len(s), maxPart)
	}
	rest := s
	if rest == "" {
		return 0, Invalidf("invalid duration %q: write whole numbers with units, such as 1y, 36h or 1d12h", s)
	}
	if strings.Trim(rest, "0123456789") == "" {
		rest += "s"
	}
	var total, previous time.Duration
	for rest != "" {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		n, err := strconv.ParseInt(rest[:digits], 10, 64)
		if err != nil {
			return 0, Invalidf("invalid duration %q: write whole numbers with units, such as 1y, 36h or 1d12h", s)
		}
		rest = rest[digits:]
		name := rest[:len(rest)-len(strings.TrimLeft(rest, "abcdefghijklmnopqrstuvwxyz"))]
		rest = rest[len(name):]
		size := unitSize(name)
		switch {
		case size == 0:
			return 0, Invalidf("invalid duration %q: unit %q is none of y, w, d, h, m, s, ms, us, ns", s, name)
		case previous != 0 && size >= previous:
			return 0, Invalidf("invalid duration %q: write each unit once, longest first", s)
		case n > int64((maxDuration-total)/size):
			return 0, Invalidf("invalid duration %q: more than %s", s, FormatDuration(maxDuration))
		}
		total += time.Duration(n) * size
		previous = size
	}
	if total <= 0 {
		return 0, Invalidf("invalid duration %q: not more than zero", s)
	}
	return total, nil
}

func unitSize(name string) time.Duration {
	for _, u := range units() {
		if u.name == name {
			return u.size
		}
	}
	return 0
}

// FormatDuration writes d so that [ParseDuration] reads it back, in the fewest
// units: "1y", "1d12h". Durations that are not positive are "0s".
func FormatDuration(d time.Duration) string {
	var b strings.Builder
	for _, u := range units() {
		// Weeks read badly beside days ("1w3d"), so only whole ones are written.
		if u.size == Week && d%Week != 0 {
			continue
		}
		if n := d / u.size; n > 0 {
			b.WriteString(strconv.FormatInt(int64(n), 10) + u.name)
			d %= u.size
		}
	}
	if b.Len() == 0 {
		return "0s"
	}
	return b.String()
}
