package text

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// shown reports whether a character is seen as one, and does nothing else.
func shown(r rune) bool { return unicode.IsPrint(r) }

// visible returns what stands for a character on a terminal, in a page and in a file of cells.
func visible(r rune) rune {
	switch {
	case shown(r):
		return r
	case unicode.Is(unicode.Zs, r): // spaces of other widths
		return ' '
	}
	return unicode.ReplacementChar
}

// Block returns a text of several lines for a terminal, a page or plain text: line feeds and tabs
// stay.
func Block(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return r
		}
		return visible(r)
	}, s)
}

// Line returns a text as one line: line ends and tabs become spaces.
func Line(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		return visible(r)
	}, s)
}

// Cell returns a text for a cell of a CSV file. What a spreadsheet would take for a formula gets an
// apostrophe in front, which spreadsheets take for the mark of a text.
func Cell(s string) string {
	s = Block(s)
	first, size := utf8.DecodeRuneInString(strings.TrimLeft(s, "\t\n "))
	if size == 0 || !strings.ContainsRune("=+-@＝＋－＠", first) || s == "-" {
		return s
	}
	if _, err := strconv.ParseFloat(s, 64); err == nil {
		return s
	}
	return "'" + s
}

// JSON returns JSON in which every character of a string that cannot be seen is escaped (RFC 8259,
// section 7), so that the values are the same. It returns text itself where there is none.
func JSON(text []byte) []byte {
	return escaped(text, func(out []byte, r rune) []byte {
		if r > 0xffff {
			high, low := utf16.EncodeRune(r)
			return fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		}
		return fmt.Appendf(out, `\u%04x`, r)
	})
}

// YAML returns YAML in which every character that cannot be seen is escaped (YAML 1.2, section
// 5.7). Scalars that have one must be in double quotes: see [Plain].
func YAML(text []byte) []byte {
	return escaped(text, func(out []byte, r rune) []byte { return fmt.Appendf(out, `\U%08x`, r) })
}

// Plain reports whether every character of a text can be seen.
func Plain(s string) bool { return !strings.ContainsFunc(s, func(r rune) bool { return !shown(r) }) }

// JSONTo returns a writer of JSON, of which each write has whole characters, in front of another.
func JSONTo(to io.Writer) io.Writer { return jsonWriter{to} }

type jsonWriter struct{ to io.Writer }

func (w jsonWriter) Write(text []byte) (int, error) {
	if _, err := w.to.Write(JSON(text)); err != nil {
		return 0, err
	}
	return len(text), nil
}

// escaped returns text with what cannot be seen written by escape. ASCII but for DEL stays: the
// formats have escaped what they must of it, and the rest is their own.
func escaped(text []byte, escape func(out []byte, r rune) []byte) []byte {
	first := 0
	for first < len(text) && text[first] < 0x7f {
		first++
	}
	if first == len(text) {
		return text
	}
	out := append(make([]byte, 0, len(text)+16), text[:first]...)
	for rest := text[first:]; len(rest) > 0; {
		r, size := utf8.DecodeRune(rest)
		if r < 0x7f || shown(r) && (r != utf8.RuneError || size > 1) {
			out = append(out, rest[:size]...)
		} else {
			out = escape(out, r) // octets that are no UTF-8 too, as U+FFFD
		}
		rest = rest[size:]
	}
	return out
}
