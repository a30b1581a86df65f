package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// help prints what the last command named does and takes.
func (p *program) help(l *line) error {
	var text strings.Builder
	path := []string{p.name}
	if l.target != "" {
		path = append(path, "PATH")
	}
	path = append(path, l.words()...)
	if len(path) > 1 && path[1] == p.name { // the program is that command
		path = path[1:]
	}
	leaf := l.leaf()
	if l.target == "" && leaf != nil && find(p.onObject("PATH"), l.chain[0].Name) != nil {
		where := "[PATH]"
		if find(p.top(), l.chain[0].Name) == nil {
			where = "PATH"
		}
		path = slices.Insert(path, 1, where)
	}
	switch {
	case leaf == nil && l.target == "":
		p.helpProgram(&text)
	case leaf == nil:
		fmt.Fprintf(&text, "usage: %s VERB [flags]\n", strings.Join(path, " "))
		listCommands(&text, l.tree)
	case len(leaf.Subcommands) > 0:
		title(&text, leaf)
		fmt.Fprintf(&text, "usage: %s VERB [flags]\n", strings.Join(path, " "))
		listCommands(&text, leaf.Subcommands)
	default:
		usage := strings.Join(path, " ")
		if leaf.ArgsUsage != "" {
			usage += " " + leaf.ArgsUsage
		}
		if len(leaf.Flags) > 0 {
			usage += " [flags]"
		}
		title(&text, leaf)
		fmt.Fprintf(&text, "usage: %s\n", usage)
		listFlags(&text, "flags", leaf.Flags)
		fmt.Fprintf(&text, "\nexample:\n")
		for _, command := range strings.Split(leaf.Description, "\n") {
			fmt.Fprintf(&text, "  %s\n", command)
		}
		fmt.Fprintf(&text, "\n%s --help lists the flags that every command takes.\n", p.name)
	}
	return p.tell(text.String())
}

// title says what a command is, within 80 columns.
func title(text *strings.Builder, c *cli.Command) {
	const total = 80
	for _, line := range wrap(c.Name+": "+c.Usage, total) {
		fmt.Fprintln(text, line)
	}
	fmt.Fprintln(text)
}

func (p *program) helpProgram(text *strings.Builder) {
	fmt.Fprintf(text, `%[1]s: certificates, users and secrets

usage: %[1]s [global flags] PATH VERB [flags]
       %[1]s [global flags] COMMAND [flags]

PATH is NAMESPACE/KIND/NAME, such as system/usr/alice, or a selector with globs
and commas where that makes sense. Kinds: sec (secrets), usr (users) and cfg
(plain).
`, p.name)
	var listed []*cli.Command
	top := p.top()
	for _, command := range p.onObject("PATH") {
		if find(top, command.Name) == nil || command.Name == "ls" {
			listed = append(listed, command)
		}
	}
	text.WriteString("\nverbs, after a PATH:\n")
	rows(text, commandRows(listed))
	text.WriteString("\ncommands; without a PATH, certificate, signing-request, key and config mean\nsystem/sec/cert:\n")
	rows(text, commandRows(top))
	listFlags(text, "global flags", globalFlags())
	fmt.Fprintf(text, `
exit status: 0 done, 1 error, 2 not found, 3 refused, 4 bad usage

example:
  %[1]s daemon run
  %[1]s system/usr/alice create --kw grant=guest:ns1
  %[1]s system/usr/alice certificate show

%[1]s COMMAND --help explains a command.
`, p.name)
}

func listCommands(text *strings.Builder, commands []*cli.Command) {
	text.WriteString("\nverbs:\n")
	rows(text, commandRows(commands))
}

func commandRows(commands []*cli.Command) [][2]string {
	var lines [][2]string
	for _, command := range commands {
		if !command.Hidden {
			lines = append(lines, [2]string{strings.Join(command.Names(), ", "), command.Usage})
		}
	}
	return lines
}

func listFlags(text *strings.Builder, title string, flags []cli.Flag) {
	if len(flags) == 0 {
		return
	}
	var lines [][2]string
	for _, flag := range flags {
		documented, ok := flag.(cli.DocGenerationFlag)
		if !ok {
			continue
		}
		placeholder, usage := unquote(documented.GetUsage())
		spellings := slices.Clone(flag.Names())
		for i, name := range spellings {
			spellings[i] = "--" + name
			if len(name) == 1 {
				spellings[i] = "-" + name
			}
		}
		lines = append(lines, [2]string{strings.TrimSpace(strings.Join(spellings, ", ") + " " + placeholder), usage})
	}
	fmt.Fprintf(text, "\n%s:\n", title)
	rows(text, lines)
}

// unquote takes the name of the value, marked by back quotes, out of the usage of a flag.
func unquote(usage string) (placeholder, text string) {
	before, rest, found := strings.Cut(usage, "`")
	name, after, closed := strings.Cut(rest, "`")
	switch {
	case !found || !closed:
		return "", usage
	case before == "" && strings.IndexAny(after, ":;") == 0: // the name alone says nothing
		return name, after[2:]
	}
	return name, before + name + after
}

// rows prints names and texts in two columns, within 80.
func rows(text *strings.Builder, lines [][2]string) {
	const total, widest = 80, 26
	width := 0
	for _, line := range lines {
		if len(line[0]) <= widest {
			width = max(width, len(line[0]))
		}
	}
	for _, line := range lines {
		name := line[0]
		if len(name) > width {
			fmt.Fprintf(text, "  %s\n", name)
			name = ""
		}
		for _, part := range wrap(line[1], total-width-4) {
			fmt.Fprintf(text, "  %-*s  %s\n", width, name, part)
			name = ""
		}
	}
}
