package object

import (
	"bytes"
	"strings"

	"omca/internal/hint"
)

// INI writes the config as the operator sees and edits it: sections, DEFAULT
// first, and one "keyword = value" a line.
func (c Config) INI() []byte {
	var b bytes.Buffer
	b.WriteString("[" + sectionDefault + "]\n")
	section := sectionDefault
	for _, s := range c.settings {
		if next := sectionOf(s.Keyword); next != section {
			section = next
			b.WriteString("\n[" + section + "]\n")
		}
		option := s.Keyword
		if section != sectionDefault {
			option = strings.TrimPrefix(s.Keyword, section+".")
		}
		b.WriteString(option + " = " + s.Value + "\n")
	}
	return b.Bytes()
}

// ParseINI reads the config of p as [Config.INI] writes it or an editor leaves
// it, 256 kB at most. Lines that start with "#" or ";" are comments, and are
// not kept; an indented line goes on with the value of the line before. A
// section or a keyword that comes twice, one that p cannot have, and a value
// that is not accepted are [ca.ErrInvalid] with the number of the line.
func ParseINI(p Path, data []byte) (Config, error) {
	if len(data) > maxConfig {
		return Config{}, Invalidf("the config has %d bytes, at most %d", len(data), maxConfig)
	}
	lines, err := scanINI(p.Kind, string(data))
	if err != nil {
		return Config{}, err
	}
	c := NewConfig(p)
	seen := make(map[string]int)
	for _, l := range lines {
		k, err := LookupKeyword(p.Kind, l.name)
		if err == nil && seen[k.Name] > 0 {
			err = Invalidf("keyword %q is on line %d already", k.Name, seen[k.Name])
		}
		if err == nil {
			l.value, err = k.Clean(l.value)
		}
		if err != nil {
			return Config{}, atLine(l.number, err)
		}
		seen[k.Name] = l.number
		c.put(k.Name, l.value)
	}
	if problems := c.conflicts(); len(problems) > 0 {
		return Config{}, atLine(seen[problems[0].Keyword], problems[0].Err)
	}
	return c, nil
}

func atLine(number int, err error) error { return Invalidf("line %d: %w", number, err) }

// iniLine is a keyword, its value with the lines that go on with it, and where
// it stands.
type iniLine struct {
	number      int // from 1
	name, value string
}

// scanINI splits a file into keywords.
func scanINI(kind Kind, text string) ([]iniLine, error) {
	var lines []iniLine
	sections := make(map[string]int)
	section, open := "", false // open: the last line was part of a keyword
	number := 0
	for line := range strings.SplitSeq(strings.TrimPrefix(text, "\ufeff"), "\n") {
		number++
		word := strings.TrimSpace(line)
		switch {
		case word == "":
			open = false
		case word[0] == '#' || word[0] == ';':
		case line[0] == ' ' || line[0] == '\t':
			if !open {
				return nil, atLine(number, hint.With(Invalidf("an indented line that goes on with nothing"), "start the line in the first column"))
			}
			last := &lines[len(lines)-1]
			if len(last.value) > maxValue {
				return nil, atLine(number, Invalidf("keyword %q: the value has more than %d bytes", last.name, maxValue))
			}
			last.value += " " + word
		case word[0] == '[':
			name, closed := strings.CutSuffix(word[1:], "]")
			if !closed {
				return nil, atLine(number, Invalidf(`"[" without "]"`))
			}
			if err := checkSection(kind, name); err != nil {
				return nil, atLine(number, err)
			}
			if first := sections[name]; first > 0 {
				return nil, atLine(number, Invalidf("section %q is on line %d already", name, first))
			}
			section, sections[name], open = name, number, false
		default:
			l, err := scanKeyword(section, word)
			if err != nil {
				return nil, atLine(number, err)
			}
			if len(lines) == maxSettings {
				return nil, atLine(number, Invalidf("more than %d keywords", maxSettings))
			}
			l.number = number
			lines, open = append(lines, l), true
		}
	}
	return lines, nil
}

// scanKeyword reads "keyword = value" in a section. What it cannot read it does
// not say again: the file of a key that was sent by mistake must not end up in
// the log.
func scanKeyword(section, line string) (iniLine, error) {
	option, value, ok := strings.Cut(line, "=")
	option = strings.TrimSpace(option)
	switch {
	case !ok:
		return iniLine{}, hint.With(Invalidf(`no "="`), "write keyword = value, and indent a line that goes on with the one before")
	case section == "":
		return iniLine{}, hint.With(Invalidf("a keyword before any section"), "start with [%s]", sectionDefault)
	case section != sectionDefault:
		option = section + "." + option
	}
	return iniLine{name: option, value: strings.TrimSpace(value)}, nil
}
