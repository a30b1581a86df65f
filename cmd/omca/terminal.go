package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/term"

	"omca/internal/hint"
)

// confirm asks a question on the terminal, and returns an error unless the answer is yes.
func (p *program) confirm(question string) error {
	fmt.Fprintf(p.stderr, "%s [y/N] ", printable(question))
	answer, err := p.readLine()
	if err != nil {
		return err
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return errors.New("not confirmed: nothing was changed")
}

// readLine reads one line byte by byte: what follows it is somebody else's.
func (p *program) readLine() (string, error) {
	const longest = 1024
	var line []byte
	for one := make([]byte, 1); len(line) < longest; {
		n, err := p.stdin.Read(one)
		if n == 0 || one[0] == '\n' {
			if len(line) == 0 && n == 0 && err != nil {
				return "", fmt.Errorf("reading the answer: %w", err)
			}
			break
		}
		line = append(line, one[0])
	}
	return string(line), nil
}

// newPassword reads a password: asked for twice on a terminal, else all of standard input less the newline at its end.
func (p *program) newPassword(what string) (string, error) {
	if !isTerminal(p.stdin) {
		text, err := readAll(p.stdin, "the password on standard input", 1024)
		password := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
		if err == nil && password == "" {
			err = hint.With(errors.New("the password on standard input is empty"), "pipe one in: printf %%s \"$PASSWORD\" | %s …", p.name)
		}
		return password, err
	}
	var typed [2][]byte
	for i, prompt := range []string{what, "again"} {
		fmt.Fprintf(p.stderr, "%s: ", prompt)
		var err error
		typed[i], err = term.ReadPassword(int(p.stdin.Fd()))
		fmt.Fprintln(p.stderr)
		if err != nil {
			return "", fmt.Errorf("reading the password: %w", err)
		}
	}
	switch {
	case len(typed[0]) == 0:
		return "", errors.New("the password is empty")
	case !bytes.Equal(typed[0], typed[1]):
		return "", errors.New("the two passwords differ")
	}
	return string(typed[0]), nil
}

// edit lets the operator change a text in their editor and returns it as they left it. The file in between is theirs alone,
// in memory where the system has a directory for that, and removed.
func (p *program) edit(ctx context.Context, name string, text []byte, limit int64) (after []byte, err error) {
	dir, err := os.MkdirTemp(p.getenv("XDG_RUNTIME_DIR"), "omca-edit-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return nil, err
	}
	editor := "vi"
	for _, variable := range []string{"EDITOR", "VISUAL"} {
		if value := p.getenv(variable); value != "" {
			editor = value
		}
	}
	cmd := exec.CommandContext(ctx, "sh", "-c", editor+` "$1"`, "sh", file) // $EDITOR may hold options
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.stdin, p.stderr, p.stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("editor %q: %w: nothing was changed", editor, err)
	}
	return readFile(file, limit)
}
