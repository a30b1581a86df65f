package console

import (
	"fmt"
	"time"

	"omca/internal/wire"
)

const (
	chartWeeks = 53
	chartMost  = 500 // certificates that the chart looks at
	chartNext  = 10  // that are named under it
	barWidth   = 14
	barHeight  = 120
	barTop     = 12 // for the count above a bar
)

// chart says how many certificates expire in each of the coming weeks.
type chart struct {
	Bars          []bar
	Next          []wire.Record
	Total, Width  int
	Height, Label int
	Axis          int
	Until         time.Time // set when there is more behind it than the chart looked at
}

// bar is one week: where it is drawn, and what it says.
type bar struct {
	X, Y, Width, Height int
	Middle, Above       int // of its count
	From                time.Time
	Count               int
	Title               string
	Soon                bool // within two weeks
	Tick                string
}

// newChart draws a page of the inventory, soonest expiry first.
func newChart(now time.Time, list wire.CertificateList) chart {
	const week = 7 * 24 * time.Hour
	c := chart{Total: len(list.Items), Width: chartWeeks * barWidth, Height: barTop + barHeight + 30, Label: barTop + barHeight + 20, Axis: barTop + barHeight}
	counts := make([]int, chartWeeks)
	for i, r := range list.Items {
		if i < chartNext {
			c.Next = append(c.Next, r)
		}
		if n := int(r.NotAfter.Sub(now) / week); n >= 0 && n < chartWeeks {
			counts[n]++
		}
	}
	if list.Next != "" && c.Total > 0 {
		c.Until = list.Items[c.Total-1].NotAfter
	}
	most := 1
	for _, n := range counts {
		most = max(most, n)
	}
	for i, n := range counts {
		from := now.Add(time.Duration(i) * week).UTC()
		b := bar{X: i*barWidth + 2, Width: barWidth - 4, From: from, Count: n, Soon: i < 2, Height: n * barHeight / most}
		if n > 0 {
			b.Height = max(b.Height, 3)
		}
		b.Y = barTop + barHeight - b.Height
		b.Middle, b.Above = b.X+b.Width/2, b.Y-3
		b.Title = fmt.Sprintf("week from %s: %d", from.Format("2 January 2006"), n)
		if i%8 == 0 && i < chartWeeks-6 { // what is written there would not fit
			b.Tick = from.Format("2 Jan")
		}
		c.Bars = append(c.Bars, b)
	}
	return c
}
