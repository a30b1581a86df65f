package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"

	"omca"
	"omca/internal/client"
	"omca/internal/hint"
	"omca/internal/remote"
	"omca/internal/text"
)

// The exit statuses.
const (
	statusDone        = 0
	statusError       = 1
	statusNotFound    = 2 // an object, a key or a certificate
	statusRefused     = 3
	statusUsage       = 4
	statusInterrupted = 128 + int(syscall.SIGINT)
	statusPipe        = 128 + int(syscall.SIGPIPE)
)

// usageError is a command line that cannot be understood.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}

// errNotFound and errRefused are for what the command finds out by itself; the API has its own statuses.
var (
	errNotFound = errors.New("not found")
	errRefused  = errors.New("permission denied")
)

// report prints an error with its hint, and returns the exit status. It is the only place that does either.
func (p *program) report(err error) int {
	status := statusOf(err)
	if err == nil || status == statusPipe {
		return status
	}
	what := err.Error()
	if status == statusInterrupted {
		what = "interrupted"
	}
	p.say("omca: error: %s\n", what)
	if try := hintOf(err); try != "" {
		p.say("omca: hint: %s\n", try)
	}
	return status
}

// notice prints what the server has to say beside the answer.
func (p *program) notice(what string) { p.say("omca: notice: %s\n", what) }

// say prints a text on stderr, without what a terminal would obey: what came from a certificate or a server is not trusted
// with one.
func (p *program) say(format string, args ...any) {
	io.WriteString(p.stderr, text.Block(fmt.Sprintf(format, args...)))
}

func statusOf(err error) int {
	var usage *usageError
	var problem *client.Error
	switch {
	case err == nil:
		return statusDone
	case errors.As(err, &usage):
		return statusUsage
	case errors.Is(err, context.Canceled):
		return statusInterrupted
	case errors.Is(err, syscall.EPIPE) && !errors.Is(err, client.ErrUnreachable): // of stdout, not of the network
		return statusPipe
	case errors.Is(err, errNotFound), errors.Is(err, remote.ErrNoContext), errors.Is(err, omca.ErrNoHome):
		return statusNotFound
	case errors.Is(err, client.ErrCertificateRefused), errors.Is(err, errRefused), errors.Is(err, remote.ErrLogin):
		return statusRefused
	case !errors.As(err, &problem):
		return statusError
	}
	switch problem.Status {
	case http.StatusNotFound:
		return statusNotFound
	case http.StatusUnauthorized, http.StatusForbidden:
		return statusRefused
	}
	return statusError
}

// hintOf returns what to try next: what this side knows, else what the server said.
func hintOf(err error) string {
	if try := hint.Of(err); try != "" {
		return try
	}
	var problem *client.Error
	var unknown x509.UnknownAuthorityError
	switch {
	case errors.As(err, &problem):
		return problem.Hint
	case errors.As(err, &unknown):
		return "say which CA to believe with --ca FILE, or --ca-fingerprint SHA256 as \"daemon run\" prints it"
	}
	return ""
}

// about says which object an error is about, unless it says so itself or there is no home.
func about(path string, err error) error {
	var usage *usageError
	if err == nil || path == "" || errors.As(err, &usage) || errors.Is(err, omca.ErrNoHome) || strings.Contains(err.Error(), path) {
		return err
	}
	return fmt.Errorf("%s: %w", path, err)
}

// tell prints a text on stdout, likewise.
func (p *program) tell(what string) error {
	_, err := io.WriteString(p.stdout, text.Block(what))
	return err
}
