package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Bounds of one control: building from an empty cache is slow.
const (
	testTime = 4 * time.Minute
	allTime  = 15 * time.Minute
)

func main() {
	only := flag.String("only", "", "try only these `NAMES`, comma separated")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *only); err != nil {
		fmt.Fprintln(os.Stderr, "controls:", err)
		os.Exit(1)
	}
}

// run tries the controls that only names, all for "", and prints a line for each.
func run(ctx context.Context, only string) error {
	chosen := table()
	if only != "" {
		names := strings.Split(only, ",")
		chosen = slices.DeleteFunc(chosen, func(c control) bool { return !slices.Contains(names, c.name) })
		if len(chosen) != len(names) {
			return fmt.Errorf("-only %q names %d controls of the table, not %d", only, len(chosen), len(names))
		}
	}
	module, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return fmt.Errorf("go env GOMOD: %w", err)
	}
	root := filepath.Dir(strings.TrimSpace(string(module)))
	failed := 0
	for _, c := range chosen {
		began := time.Now()
		err := c.try(ctx, root)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		took := time.Since(began).Round(time.Second)
		if err != nil {
			failed++
			fmt.Printf("BAD %s: %s, with %s taken out: %v, %s\n", c.name, c.test, c.what, err, took)
			continue
		}
		fmt.Printf("ok  %s: %s fails when %s is taken out, %s\n", c.name, c.test, c.what, took)
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d tests do not notice", failed, len(chosen))
	}
	return nil
}

// try runs the test of c without the check. It returns nil when the test fails for
// the expected reason.
func (c control) try(ctx context.Context, root string) error {
	dir, err := os.MkdirTemp("", "omca-controls")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	overlay, err := c.overlay(root, dir)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, allTime)
	defer cancel()
	test := exec.CommandContext(ctx, "go", "test", "-count=1", "-vet=off", "-timeout="+testTime.String(), "-run="+pattern(c.test), "./"+c.room)
	test.Dir = root
	// A test that builds the program does so with the overlay too.
	test.Env = append(os.Environ(), strings.TrimSpace("GOFLAGS="+os.Getenv("GOFLAGS")+" -overlay="+overlay))
	// The test and what it has started end with go.
	test.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	test.Cancel = func() error { return syscall.Kill(-test.Process.Pid, syscall.SIGTERM) }
	test.WaitDelay = 10 * time.Second
	out, err := test.CombinedOutput()
	if ctx.Err() != nil {
		return fmt.Errorf("not within %s", allTime)
	}
	return c.judge(string(out), err)
}

// judge says whether a test that ended so has noticed.
func (c control) judge(out string, err error) error {
	failed := regexp.MustCompile(`(?m)^ *--- FAIL: ` + regexp.QuoteMeta(c.test) + ` \(`)
	if strings.HasPrefix(c.says, "panic: ") { // of a goroutine of others, which ends the test at once
		failed = regexp.MustCompile("(?m)^" + regexp.QuoteMeta(c.says))
	}
	switch {
	case err == nil:
		return errors.New("it does not fail")
	case strings.Contains(out, "[build failed]"):
		return fmt.Errorf("what is left does not build:\n%s", out)
	case !failed.MatchString(out):
		return fmt.Errorf("it is not that test that fails:\n%s", out)
	case !strings.Contains(out, c.says):
		return fmt.Errorf("it fails, and does not say %q:\n%s", c.says, out)
	}
	return nil
}

// pattern is the name of a test as the flag -run wants it.
func pattern(test string) string {
	parts := strings.Split(test, "/")
	for i, part := range parts {
		parts[i] = "^" + regexp.QuoteMeta(part) + "$"
	}
	return strings.Join(parts, "/")
}

// overlay writes the files of c as they are without the check into dir, and says
// where go finds which stands for which (go help build, -overlay).
func (c control) overlay(root, dir string) (string, error) {
	altered, err := c.altered(root)
	if err != nil {
		return "", err
	}
	replace := make(map[string]string)
	for file, text := range altered {
		replace[filepath.Join(root, file)] = filepath.Join(dir, fmt.Sprintf("%d.go", len(replace)))
		if err := os.WriteFile(replace[filepath.Join(root, file)], text, 0o600); err != nil {
			return "", err
		}
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, "overlay.json")
	return name, os.WriteFile(name, text, 0o600)
}

// altered returns the files of c without the check, by their names below root.
func (c control) altered(root string) (map[string][]byte, error) {
	files := make(map[string][]byte)
	for _, cut := range append(c.cuts, impatience()) {
		text, read := files[cut.file]
		if !read {
			var err error
			if text, err = os.ReadFile(filepath.Join(root, cut.file)); err != nil {
				return nil, err
			}
		}
		if n := bytes.Count(text, []byte(cut.old)); n != 1 {
			return nil, fmt.Errorf("%s: %d times, expected once: %s", cut.file, n, cut.old)
		}
		files[cut.file] = bytes.Replace(text, []byte(cut.old), []byte(cut.stands), 1)
	}
	return files, nil
}
