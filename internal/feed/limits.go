package feed

import (
	"cmp"
	"errors"
	"fmt"
	"time"
)

// Limits bound what a source can cost, and say how often it is asked. A zero field takes the default named beside it.
type Limits struct {
	Bytes int // of what comes from a source, as it comes: 64 MiB
	Lists int // in it: 64

	Connect time.Duration // to the server, name lookup included; and as long again for TLS: 5 s
	Header  time.Duration // from the request to the header of the answer: 10 s
	Whole   time.Duration // from the start to the last byte, redirects included: 2 min
	Start   time.Duration // the same for Load: 3 s

	Often  time.Duration // two regular fetches are at least so far apart: 1 min
	Seldom time.Duration // and at most so far: 1 h
	Retry  time.Duration // after the first failure; twice as long after each that follows, with jitter: 5 s
	Slow   time.Duration // the most that Retry grows to: 5 min
	Poll   time.Duration // between two looks at a file: 2 s
}

// checked returns the limits with the defaults filled in.
func (l Limits) checked() (Limits, error) {
	l.Bytes = cmp.Or(l.Bytes, 64<<20)
	l.Lists = cmp.Or(l.Lists, 64)
	if l.Bytes < 0 || l.Lists < 0 {
		return Limits{}, errors.New("feed: a limit is negative")
	}
	for _, d := range []struct {
		value    *time.Duration
		standard time.Duration
	}{
		{&l.Connect, 5 * time.Second}, {&l.Header, 10 * time.Second}, {&l.Whole, 2 * time.Minute}, {&l.Start, 3 * time.Second},
		{&l.Often, time.Minute}, {&l.Seldom, time.Hour}, {&l.Retry, 5 * time.Second}, {&l.Slow, 5 * time.Minute}, {&l.Poll, 2 * time.Second},
	} {
		if *d.value = cmp.Or(*d.value, d.standard); *d.value < 0 {
			return Limits{}, fmt.Errorf("feed: limit of %s", *d.value)
		}
	}
	if l.Seldom < l.Often || l.Slow < l.Retry {
		return Limits{}, fmt.Errorf("feed: fetches between %s and %s apart, retries between %s and %s", l.Often, l.Seldom, l.Retry, l.Slow)
	}
	return l, nil
}
