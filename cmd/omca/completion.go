package main

import (
	"context"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"omca/internal/hint"
)

// completionTime bounds the look for paths.
const completionTime = 2 * time.Second

func completionVerb() verb {
	return verb{
		name: "completion", usage: "print what makes a shell complete the commands", args: "bash|zsh|fish", min: 1, max: 1,
		example: "source <(omca completion bash)\nomca completion fish > ~/.config/fish/completions/omca.fish", run: completion,
	}
}

// completeVerb is what the scripts call: the words typed so far, the unfinished one last.
func completeVerb() verb {
	return verb{name: "__complete", args: "WORD …", max: 1000, older: true, usage: "for completion", example: "omca __complete -- certificate s", run: complete}
}

func completion(_ context.Context, c *call) error {
	script, ok := map[string]string{
		"bash": `_omca() {
    local IFS=$'\n'
    COMPREPLY=($(compgen -W "$("${COMP_WORDS[0]}" __complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _omca omca om
`,
		"zsh": `#compdef omca om
_omca() {
    local -a found
    found=("${(@f)$("${words[1]}" __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    compadd -a found || _files
}
compdef _omca omca om
`,
		"fish": `function __omca_complete
    set -l words (commandline -opc)
    $words[1] __complete -- $words[2..-1] (commandline -ct) 2>/dev/null
end
complete -c omca -a '(__omca_complete)'
complete -c om -a '(__omca_complete)'
`,
	}[c.flags.Args().First()]
	if !ok {
		return hint.With(usagef("completion: unknown shell %q", c.flags.Args().First()), "one of bash, zsh, fish")
	}
	c.print("%s", script)
	return nil
}

// complete prints what the last word may become, one a line. It asks a running daemon for paths and never opens the store.
func complete(ctx context.Context, c *call) error {
	words := c.flags.Args().Slice()
	if len(words) == 0 {
		words = []string{""}
	}
	last := words[len(words)-1]
	l, err := c.parse(words[:len(words)-1])
	if err != nil {
		return nil // a line that makes no sense has no continuation
	}
	var found []string
	switch {
	case strings.HasPrefix(last, "-"):
		flags := globalFlags()
		if leaf := l.leaf(); leaf != nil {
			flags = append(leaf.Flags, flags...)
		}
		found = append(spellings(flags), "--help")
	default:
		found = names(l.next())
		if l.leaf() == nil && l.target == "" {
			found = append(found, c.knownPaths(ctx)...)
		}
	}
	for _, word := range found {
		if strings.HasPrefix(word, last) {
			c.print("%s\n", word)
		}
	}
	return nil
}

func (c *call) knownPaths(ctx context.Context) []string {
	// Whoever presses a key waits for neither a question nor a server that is away.
	c.silent = true
	ctx, cancel := context.WithTimeout(ctx, completionTime)
	defer cancel()
	api, err := c.onlyDaemon(ctx)
	if err != nil {
		return nil
	}
	paths, err := api.Paths(ctx, "**")
	if err != nil {
		return nil
	}
	return paths
}

// spellings are the long names of flags as typed.
func spellings(flags []cli.Flag) []string {
	var found []string
	for _, flag := range flags {
		for _, name := range flag.Names() {
			if len(name) > 1 {
				found = append(found, "--"+name)
			}
		}
	}
	return found
}
