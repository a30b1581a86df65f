package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// program is the world that a command runs in.
type program struct {
	name           string // omca, om, flocker-ca or one of ClusterCockpit's programs: what the operator types next in a hint
	stdin          *os.File
	stdout, stderr io.Writer
	getenv         func(string) string
	environ        func() []string
	started        []string // the command line that started the process, its name first
	now            func() time.Time
	open           opener

	stdinTaken bool // standard input was read to its end
}

func main() {
	os.Exit(run())
}

// run runs the command that the process was started for and returns the exit status.
func run() int {
	collectAfter(collectAt, os.Getenv)
	// A reader that went away is an error like another, so that what is open is closed first.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // who asks twice does not want to wait
	name := "omca"
	if base := filepath.Base(os.Args[0]); base == "om" || base == flockerName || isCockpit(base) {
		name = base
	}
	p := &program{
		name:   name,
		stdin:  os.Stdin,
		stdout: os.Stdout,
		stderr: os.Stderr,
		getenv: os.Getenv, environ: os.Environ, started: os.Args,
		now:  time.Now,
		open: openStore,
	}
	if name == flockerName {
		return p.flocker(ctx, os.Args[1:])
	}
	if isCockpit(name) {
		return p.cockpit(ctx, os.Args[1:])
	}
	return p.report(p.run(ctx, os.Args[1:]))
}
