package trail

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// maxText bounds the text of one field, in bytes.
const maxText = 512

// Line is one line of the trail.
type Line struct {
	Time   time.Time
	Level  string            // "INFO", "WARN" or "ERROR"
	Event  string            // "issued", "revoked", "denied", …
	Fields map[string]string // "by", "path", "serial", …; those of a group have its name and a dot in front
}

// Trail is a [slog.Handler] that keeps the last lines.
type Trail struct {
	window *window
	group  string // of the fields to come, with its dot
	fields []slog.Attr
}

// window is the lines that are kept: a ring, next being the oldest once it is full.
type window struct {
	mu    sync.Mutex
	lines []kept
	most  int
	next  int
}

// kept is a line as it is kept. Nothing in its fields can change, nor hold on to much.
type kept struct {
	at     time.Time
	level  slog.Level
	event  string
	fields []slog.Attr
}

// New returns a trail that keeps so many lines.
func New(most int) *Trail { return &Trail{window: &window{most: most}} }

// Enabled implements [slog.Handler].
func (t *Trail) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }

// Handle implements [slog.Handler]. It never fails.
func (t *Trail) Handle(_ context.Context, r slog.Record) error {
	line := kept{at: r.Time, level: r.Level, event: cut(r.Message), fields: make([]slog.Attr, 0, len(t.fields)+r.NumAttrs())}
	line.fields = append(line.fields, t.fields...)
	r.Attrs(func(a slog.Attr) bool {
		line.fields = appendFlat(line.fields, t.group, a)
		return true
	})
	w := t.window
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.lines) < w.most {
		w.lines = append(w.lines, line)
		return nil
	}
	w.lines[w.next] = line
	w.next = (w.next + 1) % w.most
	return nil
}

// WithAttrs implements [slog.Handler].
func (t *Trail) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := &Trail{window: t.window, group: t.group, fields: append([]slog.Attr{}, t.fields...)}
	for _, a := range attrs {
		with.fields = appendFlat(with.fields, t.group, a)
	}
	return with
}

// WithGroup implements [slog.Handler].
func (t *Trail) WithGroup(name string) slog.Handler {
	if name == "" {
		return t
	}
	return &Trail{window: t.window, group: t.group + name + ".", fields: t.fields}
}

// appendFlat appends a field, or the fields of a group, as they are kept: what is
// no plain value becomes text.
func appendFlat(fields []slog.Attr, group string, a slog.Attr) []slog.Attr {
	v := a.Value.Resolve()
	switch v.Kind() {
	case slog.KindGroup:
		if a.Key != "" {
			group += a.Key + "."
		}
		for _, inner := range v.Group() {
			fields = appendFlat(fields, group, inner)
		}
		return fields
	case slog.KindString, slog.KindAny:
		v = slog.StringValue(cut(v.String()))
	}
	if a.Key == "" {
		return fields
	}
	return append(fields, slog.Attr{Key: group + a.Key, Value: v})
}

func text(v slog.Value) string {
	if v.Kind() == slog.KindTime {
		return v.Time().UTC().Format(time.RFC3339)
	}
	return v.String()
}

// cut keeps the beginning of a long text.
func cut(s string) string {
	if len(s) <= maxText {
		return s
	}
	return strings.ToValidUTF8(s[:maxText], "") + "…"
}

// Last returns the last lines, at most so many, the oldest first.
func (t *Trail) Last(most int) []Line {
	w := t.window
	w.mu.Lock()
	defer w.mu.Unlock()
	skip := max(0, len(w.lines)-most)
	lines := make([]Line, 0, len(w.lines)-skip)
	for i := skip; i < len(w.lines); i++ {
		r := w.lines[(w.next+i)%len(w.lines)]
		l := Line{Time: r.at.UTC(), Level: r.level.String(), Event: r.event, Fields: make(map[string]string, len(r.fields))}
		for _, a := range r.fields {
			l.Fields[a.Key] = text(a.Value)
		}
		lines = append(lines, l)
	}
	return lines
}
