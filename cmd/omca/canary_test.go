package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"
)

// The canary of the commands: known secrets are in the home and in a file, and
// every command that there is runs, on what has them and with the file in each
// flag that takes one. None of them prints a secret but those that exist for it.

// shown are the secrets that a command exists to show.
func shown() map[string][]string {
	all := []string{"value", "private key", "file"} // what the canary put there itself
	return map[string][]string{
		"key decode": all, "decode": all, "key edit": all, // whoever edits a key sees it
	}
}

// notRun are the commands that the canary does not run, and why.
func notRun() map[string]string {
	return map[string]string{
		"daemon run":    "ends when it is told to: TestCanary of the root package looks into its log",
		"context login": "waits for a browser",
	}
}

// canaryFlag is what a flag gets: the file with the secrets wherever it takes a file.
func canaryFlag(name, usage, secrets string) string {
	switch {
	case strings.Contains(usage, "`FILE`"), name == "from", strings.Contains(name, "file"), name == "config":
		return secrets
	case name == "name", name == "key":
		return "password"
	case name == "kw", name == "set", name == "unset", name == "get":
		return "comment=x"
	case strings.Contains(name, "path"), strings.Contains(usage, "`DIR`"):
		return "."
	}
	return "x"
}

// canaryLines are the command lines of one command: bare, with all that it
// takes, and with a key that is a secret.
func canaryLines(words []string, c *cli.Command, secrets string) [][]string {
	bare, full := slices.Clone(words), slices.Clone(words)
	key := ""
	for _, f := range c.Flags {
		name := f.Names()[0]
		if _, isBool := f.(*cli.BoolFlag); isBool {
			if name == "yes" {
				bare, full = append(bare, "--yes"), append(full, "--yes")
			}
			continue
		}
		usage := ""
		if documented, ok := f.(cli.DocGenerationFlag); ok {
			usage = documented.GetUsage()
		}
		if name == "name" || name == "key" {
			key = name
		}
		full = append(full, "--"+name, canaryFlag(name, usage, secrets))
	}
	var lines [][]string
	for _, line := range [][]string{bare, full} {
		for _, args := range [][]string{nil, {secrets}, {"x", "ns1/sec/web", "color"}, {"-"}} {
			if args == nil || c.ArgsUsage != "" {
				lines = append(lines, append(slices.Clone(line), args...))
			}
		}
	}
	for _, name := range []string{"color", "private_key", "certificate_chain", "password"} {
		if key != "" {
			line := append(slices.Clone(bare), "--"+key, name)
			lines = append(lines, line, append(slices.Clone(line), "--from", secrets), append(slices.Clone(line), "--from", "-"))
		}
	}
	return lines
}

// canary runs commands and looks for secrets in what they print.
type canary struct {
	t       *testing.T
	home    string
	file    string            // with a secret on each line
	secrets map[string][]byte // by name
}

func (c *canary) run(args []string) (printed []byte, err error) {
	c.t.Helper()
	p, stdout, stderr := testProgram(c.home, openStore)
	getenv := p.getenv
	p.getenv = func(name string) string {
		if name == "EDITOR" || name == "VISUAL" {
			return "true" // leaves the text as it is
		}
		return getenv(name)
	}
	stdin, err := os.Open(c.file)
	if err != nil {
		c.t.Fatal(err)
	}
	defer stdin.Close()
	p.stdin = stdin
	ctx, cancel := context.WithTimeout(c.t.Context(), 20*time.Second)
	defer cancel()
	if err = p.run(ctx, args); err != nil {
		p.report(err)
	}
	return append(stdout.Bytes(), stderr.Bytes()...), err
}

// looks fails for each secret in text that words do not exist to show.
func (c *canary) looks(where, words string, text []byte) {
	c.t.Helper()
	line := bytes.ReplaceAll(text, []byte("\n"), nil)
	for name, secret := range c.secrets {
		for _, form := range [][]byte{secret, []byte(base64.StdEncoding.EncodeToString(secret)), []byte(base64.RawURLEncoding.EncodeToString(secret)), []byte(hex.EncodeToString(secret))} {
			if (bytes.Contains(text, form) || bytes.Contains(line, form)) && !slices.Contains(shown()[words], name) {
				c.t.Errorf("%s has the %s: %.300q", where, name, text)
				break
			}
		}
	}
}

func newCanary(t *testing.T) *canary {
	t.Helper()
	dir := t.TempDir()
	c := &canary{t: t, home: filepath.Join(dir, "home"), file: filepath.Join(dir, "secrets"), secrets: map[string][]byte{
		"value": []byte("canary-value-5e8dc1a0"), "password": []byte("canary password 7c41d9"), "file": []byte("canary-file-0b93ef"),
	}}
	c.write(c.file, c.secrets["value"])
	for _, line := range []string{
		"init", "system/usr/alice create --kw grant=root", "ns1/sec/web create --kw cn=web.lan", "ns1/sec/web certificate create",
		"ns1/sec/web key add --name color --from " + c.file, "ns1/cfg/plain create",
	} {
		if text, err := c.run(strings.Fields(line)); err != nil {
			t.Fatalf("%s: %v: %s", line, err, text)
		}
	}
	c.write(c.file, c.secrets["password"])
	if text, err := c.run(strings.Fields("system/usr/alice key add --name password --from " + c.file)); err != nil {
		t.Fatalf("password: %v: %s", err, text)
	}
	text, err := c.run(strings.Fields("system/usr/alice key decode --name private_key"))
	block, _ := pem.Decode(text)
	if err != nil || block == nil {
		t.Fatalf("private key: %v", err)
	}
	if _, err := x509.ParsePKCS8PrivateKey(block.Bytes); err != nil {
		t.Fatal(err)
	}
	c.secrets["private key"] = block.Bytes[36:60] // a multiple of three: base64 reads the same wherever it stands
	c.write(c.file, slices.Concat(c.secrets["file"], []byte("\n"), c.secrets["file"]))
	return c
}

func (c *canary) write(file string, text []byte) {
	c.t.Helper()
	if err := os.WriteFile(file, text, 0o600); err != nil {
		c.t.Fatal(err)
	}
}

// leaves are the commands that do something, those that take things away last.
func leaves() (all []struct {
	words   []string
	command *cli.Command
}) {
	p, _, _ := testProgram("", nil)
	add := func(before []string) func(string, *cli.Command) {
		return func(words string, c *cli.Command) {
			if len(c.Subcommands) == 0 {
				all = append(all, struct {
					words   []string
					command *cli.Command
				}{append(slices.Clone(before), strings.Fields(words)...), c})
			}
		}
	}
	every(p.top(), "", add(nil))
	for _, path := range []string{"system/usr/alice", "ns1/sec/web"} {
		every(p.onObject(path), "", add([]string{path}))
	}
	takes := func(words []string) int {
		for _, w := range []string{"delete", "del", "remove", "rename", "rm", "create", "renew", "revoke", "change", "disable"} {
			if slices.Contains(words, w) {
				return 1
			}
		}
		return 0
	}
	slices.SortStableFunc(all, func(a, b struct {
		words   []string
		command *cli.Command
	}) int {
		return takes(a.words) - takes(b.words)
	})
	return all
}

func TestCanary(t *testing.T) {
	c := newCanary(t)
	t.Chdir(t.TempDir()) // for the commands that write files
	runs, gave := 0, false
	for _, leaf := range leaves() {
		words := strings.Join(leaf.words, " ")
		if strings.Contains(leaf.words[0], "/") {
			words = strings.Join(leaf.words[1:], " ")
		}
		if notRun()[words] != "" {
			continue
		}
		for _, line := range canaryLines(leaf.words, leaf.command, c.file) {
			formats := []string{"table", "json"}
			if len(line) > len(leaf.words)+3 {
				formats = formats[:1]
			}
			for _, format := range formats {
				text, err := c.run(append(slices.Clone(line), "-o", format))
				runs++
				gave = gave || err == nil && bytes.Contains(text, c.secrets["value"])
				c.looks(strings.Join(line, " "), words, text)
			}
		}
	}
	if runs < 300 || !gave {
		t.Errorf("%d command lines, the value seen where it is given: %v", runs, gave)
	}
	err := filepath.WalkDir(c.home, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		c.looks(path, "", text)
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
