package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
	"golang.org/x/term"

	"omca/internal/text"
)

// printer holds what a command prints until the command has succeeded.
type printer struct {
	format string // table, json, yaml, csv or jsonl
	color  bool
	out    *bytes.Buffer
	to     io.Writer
}

func (p *program) newPrinter(format, color string) (printer, error) {
	formats := []string{"table", "json", "yaml", "csv", "jsonl"}
	if !slices.Contains(formats, format) {
		return printer{}, usagef("--output %q: not one of %s", format, strings.Join(formats, ", "))
	}
	pr := printer{format: format, out: &bytes.Buffer{}, to: p.stdout}
	switch color {
	case "yes":
		pr.color = true
	case "no":
	case "auto":
		pr.color = p.getenv("NO_COLOR") == "" && p.getenv("TERM") != "dumb" && isTerminal(p.stdout)
	default:
		return printer{}, usagef("--color %q: not one of yes, no, auto", color)
	}
	return pr, nil
}

// isTerminal tells whether what is read or written is a terminal.
func isTerminal(stream io.Writer) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// flush prints what was held back.
func (p printer) flush() error {
	_, err := p.out.WriteTo(p.to)
	return err
}

// print holds back a text made for the operator: of what it is made of, a terminal obeys the colours alone.
func (p printer) print(format string, args ...any) {
	args = slices.Clone(args)
	for i, arg := range args {
		switch arg := arg.(type) {
		case painted:
			args[i] = string(arg)
		case string:
			args[i] = text.Block(arg)
		case []byte:
			args[i] = text.Block(string(arg))
		case error:
			args[i] = text.Block(arg.Error())
		case fmt.Stringer:
			args[i] = text.Block(arg.String())
		}
	}
	fmt.Fprintf(p.out, format, args...)
}

// value holds back what somebody stored, as it is: only a terminal gets it without what it would obey.
func (p printer) value(octets []byte) {
	if isTerminal(p.to) {
		p.out.WriteString(text.Block(string(octets)))
		return
	}
	p.out.Write(octets)
}

// column is one column of the table that records of type T are shown in.
type column[T any] struct {
	name string
	text func(T) string
	in   form
}

// form is where a column is shown.
type form int

const (
	everywhere form = iota
	inList          // only in a table of many records, where 80 columns have to do
	inFull          // only where width costs nothing: csv, and one record on its own
)

// emit holds back records in the format asked for.
func emit[T any](p printer, items []T, columns []column[T]) error {
	switch p.format {
	case "json", "yaml":
		if items == nil {
			items = []T{} // an empty list, not null
		}
		return encode(p, items)
	case "jsonl":
		encoder := json.NewEncoder(text.JSONTo(p.out))
		encoder.SetEscapeHTML(false)
		for _, item := range items {
			if err := encoder.Encode(item); err != nil {
				return err
			}
		}
		return nil
	case "csv":
		return p.csv(cells(items, columns, inFull))
	}
	p.table(cells(items, columns, inList))
	return nil
}

// emitOne holds back one record: as a list of names and values in a table.
func emitOne[T any](p printer, item T, columns []column[T]) error {
	switch p.format {
	case "json", "yaml":
		return encode(p, item)
	case "table":
		p.pairs(cells([]T{item}, columns, inFull))
		return nil
	}
	return emit(p, []T{item}, columns)
}

// cells are the texts of a table in the form given, the names of its columns first.
func cells[T any](items []T, columns []column[T], shown form) [][]string {
	rows := make([][]string, len(items)+1)
	for _, c := range columns {
		if c.in != everywhere && c.in != shown {
			continue
		}
		rows[0] = append(rows[0], c.name)
		for i, item := range items {
			rows[i+1] = append(rows[i+1], c.text(item))
		}
	}
	return rows
}

// encode holds back a value as JSON or YAML. The YAML is made from the JSON, so that both have the same names.
func encode[T any](p printer, value T) error {
	var written bytes.Buffer
	encoder := json.NewEncoder(&written)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(value); err != nil {
		return err
	}
	if p.format != "yaml" {
		p.out.Write(text.JSON(written.Bytes()))
		return nil
	}
	var node yaml.Node // a node keeps the order of the fields
	if err := yaml.Unmarshal(text.YAML(written.Bytes()), &node); err != nil {
		return err
	}
	blockStyle(&node)
	written.Reset()
	e := yaml.NewEncoder(&written)
	e.SetIndent(2)
	if err := errors.Join(e.Encode(&node), e.Close()); err != nil {
		return err
	}
	p.out.Write(text.YAML(written.Bytes()))
	return nil
}

// blockStyle forgets that the nodes were written as JSON. Strings stay quoted where YAML would take them for something else,
// and where they have what is escaped.
func blockStyle(node *yaml.Node) {
	node.Style = 0
	if !text.Plain(strings.ReplaceAll(node.Value, "\n", " ")) {
		node.Style = yaml.DoubleQuotedStyle
	}
	for _, child := range node.Content {
		blockStyle(child)
	}
}

func (p printer) csv(rows [][]string) error {
	w := csv.NewWriter(p.out)
	for i, name := range rows[0] {
		rows[0][i] = strings.ToLower(strings.ReplaceAll(name, " ", "_"))
	}
	for _, row := range rows[1:] {
		for i := range row {
			row[i] = text.Cell(row[i])
		}
	}
	if err := w.WriteAll(rows); err != nil {
		return err
	}
	return w.Error()
}

// table holds back rows with the columns aligned.
func (p printer) table(rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i := range row {
			row[i] = cell(row[i])
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
		}
	}
	for n, row := range rows {
		for i, word := range row {
			pad := ""
			if i < len(row)-1 {
				pad = strings.Repeat(" ", widths[i]-utf8.RuneCountInString(word)+2)
			}
			p.print("%s%s", p.paint(word, n == 0), pad)
		}
		p.print("\n")
	}
}

// pairs holds back one row as names and values, one a line, without the empty ones.
func (p printer) pairs(rows [][]string) {
	width := 0
	for _, name := range rows[0] {
		width = max(width, utf8.RuneCountInString(name))
	}
	for i, name := range rows[0] {
		value := cell(rows[1][i])
		if value == "" || value == "-" {
			continue
		}
		pad := strings.Repeat(" ", width-utf8.RuneCountInString(name)+2)
		p.print("%s%s%s\n", p.paint(strings.ToLower(name), true), pad, p.paint(value, false))
	}
}

// cell makes a text fit a cell: one line, nothing that a terminal obeys, and not empty.
func cell(value string) string {
	if value == "" {
		return "-"
	}
	return text.Line(value)
}

// painted is a text that is safe, with the colours that we gave it.
type painted string

// paint colours headings and the words that matter.
func (p printer) paint(word string, heading bool) painted {
	const bold, red, green, yellow, plain = "\x1b[1m", "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"
	code := map[string]string{"valid": green, "expired": red, "revoked": red, "error": red, "stale": red, "partial": red, "fresh": green, "pending": yellow, "warning": yellow}[word]
	if heading {
		code = bold
	}
	word = text.Block(word)
	if !p.color || code == "" {
		return painted(word)
	}
	return painted(code + word + plain)
}

// day is a time as tables show it.
func day(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.DateOnly)
}

// timeOf is an instant that may be absent: zero then.
func timeOf(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}

// instant is a time to the second.
func instant(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
