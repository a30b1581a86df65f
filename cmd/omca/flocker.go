package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"

	"omca/internal/text"
)

// flockerName is the name under which the program is Flocker's own.
const flockerName = "flocker-ca"

// flockerHelp is the page that Flocker's manual shows.
const flockerHelp = `Usage: flocker-ca <command> [OPTIONS]
Options:
      --version  Print the program's version and exit.
      --help     Display this help and exit.
  -v, --verbose  Turn on verbose logging.

flocker-ca is used to create TLS certificates.
The certificates are used to identify the control service, nodes
and API clients within a Flocker cluster.
Commands:
    initialize                      Initialize a certificate authority in the current
                                    working directory.
    create-control-certificate      Create a certificate for the control service.
    create-node-certificate         Create a certificate for a node.
    create-api-certificate          Create a certificate for an API user.
`

// flockerCommand is one of its commands.
type flockerCommand struct {
	name, argument string // the argument as shown; "" when there is none
	about          string
	example        string
	paths          bool // it takes --inputpath and --outputpath
	count          bool // and --count
}

func flockerCommands() []flockerCommand {
	return []flockerCommand{
		{"initialize", "<name>", "Create a certificate authority in the current working directory:\ncluster.crt and cluster.key.", "initialize mycluster", false, false},
		{"create-control-certificate", "<hostname>", "Create a certificate for the control service on a host:\ncontrol-<hostname>.crt and control-<hostname>.key.",
			"create-control-certificate control.example.com", true, false},
		{"create-node-certificate", "", "Create a certificate for a node, which gets a new UUID:\n<uuid>.crt and <uuid>.key.", "create-node-certificate --outputpath nodes", true, true},
		{"create-api-certificate", "<name>", "Create a certificate for an API user:\n<name>.crt and <name>.key.", "create-api-certificate alice", true, false},
	}
}

// help is the page of one command.
func (c flockerCommand) help() string {
	var text strings.Builder
	fmt.Fprintf(&text, "Usage: flocker-ca %s [OPTIONS]\nOptions:\n", strings.TrimSpace(c.name+" "+c.argument))
	if c.paths {
		text.WriteString("  -i, --inputpath=   Directory with cluster.crt and cluster.key. [default: the\n                     current working directory]\n" +
			"  -o, --outputpath=  Directory to write to. [default: the current working\n                     directory]\n")
	}
	if c.count {
		text.WriteString("      --count=       How many nodes. [default: 1]\n")
	}
	fmt.Fprintf(&text, "      --version      Print the program's version and exit.\n      --help         Display this help and exit.\n\n%s\n\nExample:\n    flocker-ca %s\n", c.about, c.example)
	return text.String()
}

// flockerUsage is a command line of flocker-ca that cannot be understood.
type flockerUsage struct{ text string }

func (e *flockerUsage) Error() string { return e.text }

// getoptOption is an option that flocker-ca knows.
type getoptOption struct {
	name  string // the long one
	short string // the letter, if it has one
	value bool
}

func flockerOptions() []getoptOption {
	return []getoptOption{{"version", "", false}, {"help", "", false}, {"verbose", "v", false}, {"logfile", "", true}, {"journald", "", false}}
}

func (c flockerCommand) options() []getoptOption {
	all := flockerOptions()
	if c.paths {
		all = append(all, getoptOption{"inputpath", "i", true}, getoptOption{"outputpath", "o", true})
	}
	if c.count {
		all = append(all, getoptOption{"count", "", true})
	}
	return all
}

// flockerLine is a command line of flocker-ca as it was read.
type flockerLine struct {
	command *flockerCommand
	options map[string][]string // the values of each option given, in order; "" for one without
	args    []string
}

func (l *flockerLine) given(name string) bool { return len(l.options[name]) > 0 }

func (l *flockerLine) value(name string) string {
	if !l.given(name) {
		return ""
	}
	return l.options[name][len(l.options[name])-1]
}

// parseFlocker reads a command line as getopt does, but for options that stand
// behind an argument: they are options too.
func parseFlocker(words []string) (*flockerLine, error) {
	l := &flockerLine{options: map[string][]string{}}
	known := flockerOptions()
	for len(words) > 0 {
		word := words[0]
		words = words[1:]
		switch {
		case word == "--":
			l.args = append(l.args, words...)
			return l, nil
		case strings.HasPrefix(word, "--"):
			rest, err := l.long(word[2:], known, words)
			if err != nil {
				return l, err
			}
			words = rest
		case len(word) > 1 && word[0] == '-':
			rest, err := l.letters(word[1:], known, words)
			if err != nil {
				return l, err
			}
			words = rest
		case l.command == nil:
			commands := flockerCommands()
			i := slices.IndexFunc(commands, func(c flockerCommand) bool { return c.name == word })
			if i < 0 {
				return l, &flockerUsage{"Unknown command: " + word}
			}
			l.command, known = &commands[i], commands[i].options()
		default:
			l.args = append(l.args, word)
		}
	}
	return l, nil
}

// long takes an option spelled out, or as much of it as tells it from the others.
func (l *flockerLine) long(word string, known []getoptOption, rest []string) ([]string, error) {
	name, value, hasValue := strings.Cut(word, "=")
	var fits []getoptOption
	for _, o := range known {
		if o.name == name {
			fits = []getoptOption{o}
			break
		}
		if name != "" && strings.HasPrefix(o.name, name) {
			fits = append(fits, o)
		}
	}
	switch {
	case len(fits) == 0:
		return nil, &flockerUsage{"option --" + name + " not recognized"}
	case len(fits) > 1:
		return nil, &flockerUsage{"option --" + name + " not a unique prefix"}
	case !fits[0].value && hasValue:
		return nil, &flockerUsage{"option --" + fits[0].name + " must not have an argument"}
	case fits[0].value && !hasValue && len(rest) == 0:
		return nil, &flockerUsage{"option --" + fits[0].name + " requires argument"}
	case fits[0].value && !hasValue:
		value, rest = rest[0], rest[1:]
	}
	l.options[fits[0].name] = append(l.options[fits[0].name], value)
	return rest, nil
}

// letters takes the options of a word of letters: -vv, -o DIR, -oDIR.
func (l *flockerLine) letters(word string, known []getoptOption, rest []string) ([]string, error) {
	for i, letter := range word {
		short := string(letter)
		k := slices.IndexFunc(known, func(o getoptOption) bool { return o.short == short })
		if k < 0 {
			return nil, &flockerUsage{"option -" + short + " not recognized"}
		}
		o := known[k]
		if !o.value {
			l.options[o.name] = append(l.options[o.name], "")
			continue
		}
		value := word[i+len(short):]
		if value == "" {
			if len(rest) == 0 {
				return nil, &flockerUsage{"option -" + short + " requires argument"}
			}
			value, rest = rest[0], rest[1:]
		}
		l.options[o.name] = append(l.options[o.name], value)
		return rest, nil
	}
	return rest, nil
}

// flocker runs a command line of flocker-ca and returns the exit status: 0, or 1
// for whatever went wrong.
func (p *program) flocker(ctx context.Context, words []string) int {
	err := p.runFlocker(ctx, words)
	var usage *flockerUsage
	switch {
	case err == nil:
		return statusDone
	case errors.As(err, &usage):
		p.say("%s\nERROR: %s\n", flockerHelp, usage.text)
	case statusOf(err) == statusPipe:
		return statusPipe
	case statusOf(err) == statusInterrupted:
		p.say("Error: interrupted\n")
		return statusInterrupted
	default:
		p.say("Error: %s\n", err.Error())
	}
	return statusError
}

func (p *program) runFlocker(ctx context.Context, words []string) error {
	l, err := parseFlocker(words)
	switch {
	case err != nil:
		return err
	case l.given("version"):
		return p.tell(version() + "\n")
	case l.command == nil:
		return p.tell(flockerHelp)
	case l.given("help"):
		return p.tell(l.command.help())
	}
	o, err := l.order()
	if err != nil {
		return err
	}
	log, done, err := p.flockerLog(l)
	if err != nil {
		return err
	}
	log.DebugContext(ctx, "started", "command", o.verb, "name", o.name, "inputpath", o.in, "outputpath", o.out)
	said, err := p.offline(ctx, p.maker(), o)
	if err == nil {
		log.InfoContext(ctx, "created", "command", o.verb, "name", o.name, "said", strings.TrimSpace(said))
		err = p.tell(said)
	} else {
		log.ErrorContext(ctx, "failed", "command", o.verb, "name", o.name, "error", err.Error())
	}
	return errors.Join(err, done())
}

// order reads what is to be made.
func (l *flockerLine) order() (offlineOrder, error) {
	o := offlineOrder{verb: l.command.name, in: l.value("inputpath"), out: l.value("outputpath"), count: 1}
	wanted := 0
	if l.command.argument != "" {
		wanted = 1
	}
	if len(l.args) != wanted {
		return o, &flockerUsage{"Wrong number of arguments."}
	}
	if wanted == 1 {
		o.name = l.args[0]
	}
	if l.given("count") {
		n, err := strconv.Atoi(l.value("count"))
		if err != nil || n < 1 || n > maxNodes {
			return o, &flockerUsage{fmt.Sprintf("option --count wants a number from 1 to %d", maxNodes)}
		}
		o.count = n
	}
	return o, nil
}

// flockerLog is where flocker-ca logs: to a file, to the journal, with -v to
// stderr, else nowhere. The func closes it.
func (p *program) flockerLog(l *flockerLine) (log *slog.Logger, done func() error, err error) {
	level := slog.LevelError
	switch len(l.options["verbose"]) {
	case 0:
		if l.given("logfile") || l.given("journald") {
			level = slog.LevelInfo
		}
	case 1:
		level = slog.LevelInfo
	default:
		level = slog.LevelDebug
	}
	var to io.WriteCloser
	switch {
	case l.given("logfile"):
		to, err = openLogFile(l.value("logfile"))
	case l.given("journald"):
		to, err = openJournal(journalSocket)
	case l.given("verbose"):
		to = unclosed{p.stderr}
	default:
		return slog.New(slog.DiscardHandler), func() error { return nil }, nil
	}
	if err != nil {
		return nil, nil, err
	}
	return slog.New(slog.NewJSONHandler(text.JSONTo(to), &slog.HandlerOptions{Level: level})), to.Close, nil
}

// unclosed is a stream that is somebody else's to close.
type unclosed struct{ io.Writer }

func (unclosed) Close() error { return nil }
