package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"

	"golang.org/x/term"

	"omca/internal/hint"
)

// confirm asks a question on the terminal, and returns an error unless the answer is yes.
func (p *program) confirm(ctx context.Context, question string) error {
	p.say("%s [y/N] ", question)
	answer, err := patient(ctx, p.readLine)
	if err != nil {
		return err
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return errors.New("not confirmed: nothing was changed")
}

// patient runs what waits for the operator, and stops waiting when the context ends. What was run is left behind: the program is
// about to end, and with it the read.
func patient[T any](ctx context.Context, wait func() (T, error)) (T, error) {
	type outcome struct {
		value T
		err   error
	}
	done := make(chan outcome, 1)
	go func() {
		value, err := wait()
		done <- outcome{value, err}
	}()
	select {
	case o := <-done:
		return o.value, o.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
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
func (p *program) newPassword(ctx context.Context, what string) (string, error) {
	if !isTerminal(p.stdin) {
		text, err := p.readSource(ctx, "-", 1024)
		password := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
		if err == nil && password == "" {
			err = hint.With(errors.New("the password on standard input is empty"), "pipe one in: printf %%s \"$PASSWORD\" | %s …", p.name)
		}
		return password, err
	}
	first, err := p.askPassword(ctx, what)
	if err != nil {
		return "", err
	}
	second, err := p.askPassword(ctx, "again")
	switch {
	case err != nil:
		return "", err
	case first == "":
		return "", errors.New("the password is empty")
	case first != second:
		return "", errors.New("the two passwords differ")
	}
	return first, nil
}

// askPassword reads a line from the terminal that does not show it, and leaves the terminal as it was, interrupted or not.
func (p *program) askPassword(ctx context.Context, prompt string) (string, error) {
	fd := int(p.stdin.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", err
	}
	p.say("%s: ", prompt)
	typed, err := patient(ctx, func() ([]byte, error) { return term.ReadPassword(fd) })
	p.say("\n")
	if err != nil {
		return "", errors.Join(fmt.Errorf("reading the password: %w", err), term.Restore(fd, before))
	}
	return string(typed), nil
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
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("editor %q: %w", editor, err)
	}
	signal.Ignore(os.Interrupt) // until the editor has ended, it is the editor's
	err = cmd.Wait()
	signal.Reset(os.Interrupt)
	if err != nil {
		return nil, fmt.Errorf("editor %q: %w: nothing was changed", editor, err)
	}
	return readFile(file, limit)
}
