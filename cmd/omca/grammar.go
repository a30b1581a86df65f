package main

import (
	"context"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"omca/internal/hint"
)

// listenerPath is what the certificate, signing-request, key and config verbs mean when no path is given.
const listenerPath = "system/sec/cert"

// clusterWord is the cluster object, as typed.
const clusterWord = "cluster"

// verb is a command that does something, as opposed to a group of commands.
type verb struct {
	name    string
	aliases []string
	usage   string // one line
	args    string // the arguments as shown: FILE|-
	min     int    // how many arguments it takes at least
	max     int    // and at most
	flags   []cli.Flag
	example string // commands that work, one a line, beginning with the program's name
	older   bool   // another spelling of a verb: works, not listed
	run     func(context.Context, *call) error
}

// group is a command that only holds others.
func group(name, usage string, commands ...*cli.Command) *cli.Command {
	return &cli.Command{Name: name, Usage: usage, Subcommands: commands, HideHelp: true, HideHelpCommand: true}
}

// command makes a command of a verb that is about target.
func (p *program) command(target string, v verb) *cli.Command {
	return &cli.Command{
		Name: v.name, Aliases: v.aliases, Usage: v.usage, ArgsUsage: v.args, Flags: v.flags, Description: v.example,
		Hidden: v.older, HideHelp: true, HideHelpCommand: true,
		OnUsageError: onUsageError,
		Action: func(flags *cli.Context) error {
			if n := flags.NArg(); n > v.max {
				return p.unexpected(v, flags.Args().Get(v.max))
			} else if n < v.min {
				return usagef("%s: missing argument %s", v.name, v.args)
			}
			c, err := p.newCall(flags, target)
			if err != nil {
				return err
			}
			err = v.run(flags.Context, c)
			return c.finish(about(c.subject(), err))
		},
	}
}

// unexpected is an argument too many. The path that was meant by it comes first.
func (p *program) unexpected(v verb, arg string) error {
	err := usagef("%s: unexpected argument %q", v.name, arg)
	if first := find(p.top(), v.name); first == nil || first.Name != v.name || find(p.onObject("PATH"), v.name) == nil || !isSelector(arg) {
		return err
	}
	return hint.With(err, "the path comes first: %s '%s' %s", p.name, arg, v.name)
}

func (p *program) commands(target string, verbs []verb) []*cli.Command {
	commands := make([]*cli.Command, len(verbs))
	for i, v := range verbs {
		commands[i] = p.command(target, v)
	}
	return commands
}

func onUsageError(_ *cli.Context, err error, _ bool) error { return usagef("%s", err) }

// top is what may be the first word.
func (p *program) top() []*cli.Command {
	certificate := p.certificateGroup(listenerPath)
	certificate.Subcommands = append(certificate.Subcommands, p.commands("", inventoryVerbs())...)
	ls := objectVerb("ls")
	commands := []*cli.Command{
		p.command("**", ls),
		certificate,
		p.command(listenerPath, signingRequestVerb()),
		p.keyGroup(listenerPath),
		p.configGroup(listenerPath),
		p.crlGroup(),
		p.authorityGroup(),
		p.clusterGroup(),
		p.daemonGroup(),
		p.nodeGroup(),
		p.authGroup(),
		p.sessionGroup(),
		p.userGroup(),
		p.tokenGroup(),
		p.contextGroup(),
		p.offlineGroup(),
		p.command("", whoamiVerb()),
		p.command("", initVerb()),
		p.command("", backupVerb()),
		p.command("", restoreVerb()),
		p.command("", doctorVerb()),
		p.command("", auditVerb()),
		p.command("", completionVerb()),
		p.command("", completeVerb()),
		p.command("", versionVerb()),
		p.command("", cockpitVerb()),
	}
	for _, kind := range []string{"sec", "usr", "cfg"} {
		g := group(kind, "list the objects of kind "+kind, p.command("*/"+kind+"/*", ls))
		commands = append(commands, g)
	}
	return commands
}

// onObject is what may follow a path.
func (p *program) onObject(target string) []*cli.Command {
	commands := p.commands(target, objectVerbs())
	commands = append(commands,
		p.keyGroup(target), p.configGroup(target), p.certificateGroup(target),
		p.command(target, signingRequestVerb()), p.command(target, importVerb()),
	)
	commands = append(commands, p.commands(target, olderKeyVerbs())...)
	commands = append(commands, p.commands(target, olderConfigVerbs())...)
	older := revokeVerb()
	older.older, older.example = true, "omca system/usr/alice revoke"
	commands = append(commands, p.command(target, older))
	gen := group("gen", "older spelling", p.command(target, certificateVerb("create", "cert")))
	gen.Hidden = true
	return append(commands, gen)
}

// line is a command line that was understood.
type line struct {
	target string         // the path or selector typed; "" when none was
	tree   []*cli.Command // the commands of that level
	chain  []*cli.Command // the commands named, outermost first
	global []string       // flags of the program, ready to parse
	flags  []string       // flags of the last command
	args   []string
	help   bool
}

// leaf is the last command named, nil when none was.
func (l *line) leaf() *cli.Command {
	if len(l.chain) == 0 {
		return nil
	}
	return l.chain[len(l.chain)-1]
}

// next is what the next word may be.
func (l *line) next() []*cli.Command {
	if leaf := l.leaf(); leaf != nil {
		return leaf.Subcommands
	}
	return l.tree
}

// words are the names of the commands named.
func (l *line) words() []string {
	var words []string
	for _, command := range l.chain {
		words = append(words, command.Name)
	}
	return words
}

// flagToken is a flag as typed, with the value that belongs to it.
type flagToken struct {
	name   string
	tokens []string
}

// parse sorts the words of a command line: flags may stand before and after arguments, and "--" ends them.
// Flags of the program are recognised before the first word, and after it unless the command has one of the same name.
func (p *program) parse(args []string) (*line, error) {
	l := &line{tree: p.top()}
	var after []flagToken
	started := false // the first word was seen
	for len(args) > 0 {
		word := args[0]
		args = args[1:]
		if word == "--" {
			l.args = append(l.args, args...)
			break
		}
		if len(word) < 2 || word[0] != '-' {
			if err := p.word(l, word, !started); err != nil {
				return l, err
			}
			started = true
			continue
		}
		flag, err := l.flag(word, &args, started)
		switch {
		case err != nil:
			return l, err
		case flag.name == "h" || flag.name == "help":
			l.help = true
		case !started:
			l.global = append(l.global, flag.tokens...)
		default:
			after = append(after, flag)
		}
	}
	return l, l.assign(after)
}

// word takes a word that is not a flag.
func (p *program) word(l *line, word string, first bool) error {
	if first && word == "help" {
		l.help, l.tree = true, append(l.tree, p.onObject("PATH")...)
		return nil
	}
	if command := find(l.next(), word); command != nil {
		l.chain = append(l.chain, command)
		return nil
	}
	if leaf := l.leaf(); leaf != nil && len(leaf.Subcommands) == 0 {
		l.args = append(l.args, word)
		return nil
	}
	if l.target == "" && l.leaf() == nil && isSelector(word) {
		l.target, l.tree = word, p.onObject(word)
		return nil
	}
	if first && find(p.onObject("PATH"), word) != nil {
		return hint.With(usagef("%s: no object given", word), "%s PATH %s, where PATH is like system/usr/alice", p.name, word)
	}
	where := append([]string{p.name}, l.words()...)
	return hint.With(usagef("unknown command %q", word), "%s", suggest(word, names(l.next()), strings.Join(where, " ")+" --help"))
}

// flag takes a flag and its value out of args.
func (l *line) flag(word string, args *[]string, started bool) (flagToken, error) {
	name, _, hasValue := strings.Cut(strings.TrimLeft(word, "-"), "=")
	token := flagToken{name, []string{word}}
	if name == "h" || name == "help" {
		return token, nil
	}
	known := globalFlags()
	if started {
		known = append(known, flagsBelow(l.leaf(), l.tree)...)
	}
	flag := findFlag(known, name)
	if flag == nil {
		return token, unknownFlag(word, known)
	}
	if _, isBool := flag.(*cli.BoolFlag); isBool || hasValue {
		return token, nil
	}
	if len(*args) == 0 {
		return token, usagef("flag %s needs a value", word)
	}
	token.tokens = []string{word, (*args)[0]}
	*args = (*args)[1:]
	return token, nil
}

// assign gives the flags that stood after the first word to the command or to the program.
func (l *line) assign(flags []flagToken) error {
	var own []cli.Flag
	if leaf := l.leaf(); leaf != nil {
		own = leaf.Flags
	}
	for _, f := range flags {
		switch {
		case findFlag(own, f.name) != nil:
			l.flags = append(l.flags, f.tokens...)
		case findFlag(globalFlags(), f.name) != nil:
			l.global = append(l.global, f.tokens...)
		default:
			return unknownFlag(f.tokens[0], append(globalFlags(), own...))
		}
	}
	return nil
}

func unknownFlag(word string, known []cli.Flag) error {
	word, _, _ = strings.Cut(word, "=")
	return hint.With(usagef("unknown flag %q", word), "%s", suggest(word, spellings(known), "--help"))
}

// suggest says which of the known words was probably meant, or where to look.
func suggest(word string, known []string, look string) string {
	if near, ok := hint.Nearest(word, known); ok {
		return "did you mean " + near + "?"
	}
	return "see " + look
}

// isSelector tells a path or a selector from a mistyped command.
func isSelector(word string) bool { return strings.ContainsAny(word, "/*?[,") }

func find(commands []*cli.Command, word string) *cli.Command {
	i := slices.IndexFunc(commands, func(c *cli.Command) bool { return c.HasName(word) })
	if i < 0 {
		return nil
	}
	return commands[i]
}

func findFlag(flags []cli.Flag, name string) cli.Flag {
	i := slices.IndexFunc(flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), name) })
	if i < 0 {
		return nil
	}
	return flags[i]
}

// flagsBelow are the flags of a command and of all under it, or of a whole tree when the command is nil.
func flagsBelow(command *cli.Command, tree []*cli.Command) []cli.Flag {
	var flags []cli.Flag
	if command != nil {
		flags, tree = slices.Clone(command.Flags), command.Subcommands
	}
	for _, c := range tree {
		flags = append(flags, flagsBelow(c, nil)...)
	}
	return flags
}

// names are the names of the commands that are listed.
func names(commands []*cli.Command) []string {
	var names []string
	for _, c := range commands {
		if !c.Hidden {
			names = append(names, c.Name)
		}
	}
	return names
}
