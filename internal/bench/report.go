package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// figure is one line of the report.
type figure struct {
	what, value, bound, how string
}

type report struct{ figures []figure }

func (r *report) add(what, bound, how, format string, args ...any) {
	f := figure{what, fmt.Sprintf(format, args...), bound, how}
	fmt.Fprintf(os.Stderr, "%-52s %s\n", f.what, f.value)
	r.figures = append(r.figures, f)
}

func (r *report) markdown(machine string, at time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Taken on %s: %s.\n\n", at.UTC().Format("2006-01-02"), machine)
	b.WriteString("| what | measured | wanted | how |\n|---|---|---|---|\n")
	for _, f := range r.figures {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", f.what, f.value, f.bound, f.how)
	}
	return b.String()
}

// The figures stand between these two lines of docs/performance.md.
const (
	figuresBegin = "<!-- figures: written by \"just bench\" -->"
	figuresEnd   = "<!-- end of figures -->"
)

// keep writes the figures between the marks of a file.
func keep(name, text string) error {
	old, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	before, rest, begun := strings.Cut(string(old), figuresBegin)
	_, after, ended := strings.Cut(rest, figuresEnd)
	if !begun || !ended {
		return fmt.Errorf("%s: the lines %q and %q are missing", name, figuresBegin, figuresEnd)
	}
	return os.WriteFile(name, []byte(before+figuresBegin+"\n\n"+text+"\n"+figuresEnd+after), 0o644)
}

// median returns the middle of the values, which it sorts.
func median[T int | int64 | float64 | time.Duration](values []T) T {
	slices.Sort(values)
	return values[len(values)/2]
}

// cpuModel names the processor, as far as the system tells.
func cpuModel() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown processor"
	}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
}
