package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"omca/internal/text"
	"omca/internal/wire"
)

// auditName is the file in the home where commands without a daemon leave their audit trail. A daemon has its own log.
const auditName = "audit.log"

// auditLog appends to the file, which is opened when there is something to write: the home may not be there before.
func auditLog(home string) *slog.Logger {
	return slog.New(slog.NewJSONHandler(text.JSONTo(appender(filepath.Join(home, auditName))), nil))
}

// appender is the name of a file to append lines to.
type appender string

// Write appends one line. Lines are shorter than what the system writes at once, so those of two processes do not mix.
func (a appender) Write(line []byte) (int, error) {
	f, err := os.OpenFile(string(a), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	n, err := f.Write(line)
	if closed := f.Close(); err == nil {
		err = closed
	}
	return n, err
}

const (
	mostAudit     = 1000    // lines that are shown
	maxAuditBytes = 1 << 20 // of the end of the file that are read
)

func auditVerb() verb {
	return verb{
		name: "audit", usage: "the last lines of the audit trail: of the daemon since it started, and of commands without one; all of it is in the log of the daemon and in audit.log in the home",
		flags:   []cli.Flag{&cli.IntFlag{Name: "lines", Aliases: []string{"n"}, Value: 20, Usage: "`NUMBER` of lines, 1 to 1000"}},
		example: "omca audit\nomca audit -n 100 -o jsonl", run: audit,
	}
}

func audit(ctx context.Context, c *call) error {
	most := c.flags.Int("lines")
	if most < 1 || most > mostAudit {
		return usagef("audit: --lines %d: not 1 to %d", most, mostAudit)
	}
	d, err := c.destination()
	if err != nil {
		return err
	}
	var lines []wire.AuditLine
	if d.isLocal() {
		home, err := c.home()
		if err != nil {
			return err
		}
		if lines, err = readAudit(filepath.Join(home, auditName)); err != nil {
			return err
		}
	}
	api, err := c.api(ctx)
	if err != nil {
		return err
	}
	told, err := api.Audit(ctx, most)
	if err != nil {
		return err
	}
	lines = append(lines, told...)
	slices.SortStableFunc(lines, func(a, b wire.AuditLine) int { return a.Time.Compare(b.Time) })
	return emit(c.printer, lines[max(0, len(lines)-most):], auditColumns())
}

func auditColumns() []column[wire.AuditLine] {
	type l = wire.AuditLine
	field := func(names ...string) func(l) string {
		return func(line l) string {
			for _, name := range names {
				if value := line.Fields[name]; value != "" {
					return value
				}
			}
			return ""
		}
	}
	return []column[l]{
		{name: "TIME", text: func(line l) string { return instant(line.Time) }},
		{name: "EVENT", text: func(line l) string { return line.Event }},
		{name: "BY", text: field("by")},
		{name: "ACTION", text: field("action", "profile")},
		{name: "ABOUT", text: field("path", "owner", "ca", "user", "serial", "name")},
		{name: "LEVEL", text: func(line l) string { return line.Level }, in: inFull},
		{name: "AUTH", text: field("auth"), in: inFull},
		{name: "ADDRESS", text: field("address"), in: inFull},
		{name: "STATUS", text: field("status"), in: inFull},
		{name: "REASON", text: field("reason", "error"), in: inFull},
		{name: "REQUEST ID", text: field("request_id"), in: inFull},
	}
}

// readAudit reads the end of the audit trail in a home; there may be none.
func readAudit(name string) ([]wire.AuditLine, error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("%w: %w", errRefused, err)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close() // it was read only
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	from := max(0, info.Size()-maxAuditBytes)
	text, err := io.ReadAll(io.NewSectionReader(f, from, maxAuditBytes))
	if err != nil {
		return nil, err
	}
	if from > 0 { // the first line is not whole
		_, text, _ = bytes.Cut(text, []byte("\n"))
	}
	var lines []wire.AuditLine
	for line := range bytes.Lines(text) {
		if l, ok := parseAudit(line); ok {
			lines = append(lines, l)
		}
	}
	return lines, nil
}

// parseAudit reads a line as slog writes it. What is none, such as the piece that a full disk left, is passed over.
func parseAudit(line []byte) (wire.AuditLine, bool) {
	var fields map[string]any
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.UseNumber()
	if err := decoder.Decode(&fields); err != nil {
		return wire.AuditLine{}, false
	}
	l := wire.AuditLine{Fields: make(map[string]string)}
	for name, value := range fields {
		text := strings.TrimSpace(fmt.Sprint(value))
		switch name {
		case slog.TimeKey:
			at, err := time.Parse(time.RFC3339Nano, text)
			if err != nil {
				return l, false
			}
			l.Time = at
		case slog.LevelKey:
			l.Level = text
		case slog.MessageKey:
			l.Event = text
		default:
			l.Fields[name] = text
		}
	}
	return l, !l.Time.IsZero()
}
