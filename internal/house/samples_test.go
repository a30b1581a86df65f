package house

import (
	"go/token"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// sample is a small tree, and what a rule says about it: the breaches in order, each by its place and a part of its text. None
// means that the tree keeps the rule.
type sample struct {
	rule  string
	files map[string]string
	want  []string // "file:line: part of the text"
}

func samples() []sample {
	return []sample{
		{"imports", one("crl/crl.go", "package crl\n\nimport \"omca/pki\"\n"), nil},
		{"imports", one("omca.go", "package omca\n\nimport \"omca/internal/api\"\n"), nil},
		{"imports", one("cmd/omca/main.go", "package main\n\nimport \"omca\"\n"), nil},
		{"imports", one("ca/ca_test.go", "package ca_test\n\nimport \"omca/internal/store/mem\"\n"), nil},
		{"imports", one("deps/deps.go", "package deps\n\nimport \"omca/cmd/omca\"\n"), nil},
		{"imports", one("pki/testdata/x.go", "package x\n\nimport \"omca/cmd/omca\"\n"), nil},
		{"imports", one("extra/extra.go", "package extra\n"), []string{`extra/extra.go:1: "extra" is not in the plan`}},
		{"imports", one("internal/extra/x.go", "package extra\n"), []string{`internal/extra/x.go:1: is not in the plan`}},
		{"imports", one("pki/pki.go", "package pki\n\nimport \"omca/crl\"\n"), []string{`pki/pki.go:3: imports "omca/crl", of ours it may import []`}},
		{"imports", one("usr/usr.go", "package usr\n\nimport \"omca/internal/hint\"\n"), []string{`usr/usr.go:3: imports "omca/internal/hint"`}},
		{"imports", one("usr/usr.go", "package usr\n\nimport \"crypto/x509\"\n"), []string{`usr/usr.go:3: "crypto/x509" is not for this room`}},
		{"imports", one("usr/usr.go", "package usr\n\nimport \"crypto/x509/pkix\"\n"), []string{`usr/usr.go:3: "crypto/x509" is not for this room`}},
		{"imports", one("ca/ca.go", "package ca\n\nimport alias \"omca/internal/object\"\n"), []string{`ca/ca.go:3: imports "omca/internal/object"`}},
		{"imports", one("omca.go", "package omca\n\nimport \"omca/cmd/omca\"\n"), []string{`omca.go:3: a command is imported by nobody`}},
		{"imports", one("ca/ca_test.go", "package ca\n\nimport \"omca/cmd/omca\"\n"), []string{`ca/ca_test.go:3: a command is imported by nobody`}},
		{"imports", one("internal/client/c.go", "package client\n\nimport \"omca\"\n"), []string{`internal/client/c.go:3: imports "omca"`}},

		{"imports", one("ca/ca.go", "package ca\n\nimport \"omca/pki/lint\"\n"), []string{`ca/ca.go:3: imports "omca/pki/lint"`}},

		{"linters", one("pki/lint/lint.go", "package lint\n\nimport _ \"github.com/zmap/zlint/v3/lints/rfc\"\n\nfunc (l *Linter) Lint() {}\n"), nil},
		{"linters", one("pki/lint.go", "package pki\n\nfunc Lint() {}\n\ntype Linter interface{ Lint() }\n"), nil},
		{"linters", one("ca/ca_test.go", "package ca\n\nfunc (none) Lint() {}\n"), nil},
		{"linters", one("ca/ca.go", "package ca\n\nfunc (none) Lint() {}\n"), []string{`ca/ca.go:3: pki/lint alone has one`}},
		{"linters", one("pki/pki.go", "package pki\n\nimport zlint \"github.com/zmap/zlint/v3/lint\"\n"), []string{`pki/pki.go:3: zlint is for pki/lint`}},

		{"printed", one("cmd/omca/x.go", "package main\n\nfunc (p *program) say() { io.WriteString(p.stderr, \"\") }\n\nfunc (p *program) x() { _ = isTerminal(p.stdout) }\n"), nil},
		{"printed", one("cmd/omca/x.go", "package main\n\nfunc (p *program) x() { fmt.Fprintln(p.stdout) }\n"), []string{`cmd/omca/x.go:3: p.stdout is written to directly`}},
		{"printed", one("cmd/omca/x.go", "package main\n\nfunc x() { os.Stderr.WriteString(\"\") }\n"), []string{`cmd/omca/x.go:3: os.Stderr is written to directly`}},

		{"names", one("pki/pki.go", "package pki\n"), nil},
		{"names", one("pki/util/x.go", "package util\n"), []string{`pki/util/x.go:1: "util" says nothing`}},
		{"names", one("pki/helpers/x.go", "package pem\n"), []string{`pki/helpers/x.go:1: "helpers" says nothing`}},
		{"names", one("pki/x/x_test.go", "package types_test\n"), []string{`pki/x/x_test.go:1: "types_test" says nothing`}},

		{"package comment", one("pki/doc.go", "// Package pki is.\npackage pki\n"), nil},
		{"package comment", one("cmd/omca/doc.go", "// Command omca is.\npackage main\n"), nil},
		{"package comment", one("pki/pki.go", "package pki\n"), []string{`pki/pki.go:1: no package comment`}},
		{"package comment", one("pki/doc.go", "// Something else.\npackage pki\n"), []string{`pki/doc.go:2: no package comment`}},
		{"package comment", one("pki/doc.go", "// Package pki is.\n\npackage pki\n"), []string{`pki/doc.go:3: no package comment`}},
		{"package comment", map[string]string{
			"pki/doc.go": "// Package pki is.\npackage pki\n",
			"pki/pki.go": "// Package pki is also.\npackage pki\n",
		}, []string{`pki/pki.go:2: outside of doc.go`}},

		{"documented", one("pki/pki.go", `package pki

// F does.
func F() {}

func f() {}

type t struct{}

func (t) M() {}

// These are two.
const (
	A = 1
	B = 2
)

const (
	C = 3 // of three
)
`), nil},
		{"documented", one("internal/api/api.go", "package api\n\nfunc F() {}\n"), nil},
		{"documented", one("pki/pki_test.go", "package pki\n\nfunc F() {}\n"), nil},
		{"documented", one("pki/pki.go", `package pki

func F() {}

// T is.
type T[P any] struct{}

func (*T[P]) M() {}

type (
	// U is.
	U int
	V int
)

const A = 1

var (
	B = 1
)
`), []string{"pki/pki.go:3: F has no", "pki/pki.go:8: M has no", "pki/pki.go:13: V has no", "pki/pki.go:16: A has no", "pki/pki.go:19: B has no"}},
		{"documented", one("omca.go", "package omca\n\ntype T int\n"), []string{"omca.go:3: T has no"}},

		{"clients", one("internal/feed/f.go", "package feed\n\nimport \"net/http\"\n\nvar c *http.Client\n\nvar r = http.Request{Method: http.MethodGet}\n"), nil},
		{"clients", one("internal/outbound/o.go", "package outbound\n\nimport \"net/http\"\n\nvar c = http.Client{}\n"), nil},
		{"clients", one("joining.go", "package omca\n\nimport \"net/http\"\n\nvar t = http.Transport{}\n"), nil},
		{"clients", one("internal/feed/f_test.go", "package feed\n\nimport \"net/http\"\n\nvar c = http.Client{}\n"), nil},
		{"clients", one("cmd/omca/x.go", `package main

import web "net/http"

func f() {
	web.Get("http://x")
	_ = web.DefaultClient
	_ = &web.Client{}
	_ = new(web.Transport)
	var c web.Client
}
`), []string{"cmd/omca/x.go:6: http.Get", "cmd/omca/x.go:7: http.DefaultClient", "cmd/omca/x.go:8: an http.Client", "cmd/omca/x.go:9: an http.Transport", "cmd/omca/x.go:10: an http.Client"}},
		{"clients", one("feeds.go", "package omca\n\nimport \"net/http\"\n\nvar t = http.Transport{}\n"), []string{"feeds.go:5: an http.Transport"}},

		{"calls", one("ca/ca.go", "package ca\n\nimport \"log/slog\"\n\nfunc f(log *slog.Logger) { log.Info(\"x\") }\n"), nil},
		{"calls", one("ca/ca_test.go", "package ca\n\nimport \"time\"\n\nvar _ = time.Now()\n"), nil},
		{"calls", one("listener/l.go", "package listener\n\nimport \"net/http\"\n\nfunc f() { panic(http.ErrAbortHandler) }\n"), nil},
		{"calls", one("listener/l.go", "package listener\n\nimport \"net/http\"\n\nfunc f() { panic(http.ErrServerClosed) }\n"), []string{"listener/l.go:5: panic"}},
		{"calls", one("cmd/omca/main.go", "package main\n\nimport \"os\"\n\nfunc main() { os.Exit(1) }\n"), nil},
		{"calls", one("omca.go", "package omca\n\nimport \"time\"\n\nvar _ = time.Now\n"), nil},
		{"calls", one("internal/faults/x.go", "package faults\n\nimport \"time\"\n\nvar _ = time.Now\n"), nil},
		{"calls", one("ca/ca.go", `package ca

import (
	"log"
	sys "os"
	"time"
)

func f() {
	now := time.Now
	_ = time.Since(now())
	_ = sys.Getenv("HOME")
	_, _ = sys.LookupEnv("HOME")
	_ = sys.Environ()
	log.Fatalf("x")
	sys.Exit(1)
	panic("x")
}
`), []string{
			"ca/ca.go:10: time.Now", "ca/ca.go:11: time.Since", "ca/ca.go:12: os.Getenv", "ca/ca.go:13: os.LookupEnv", "ca/ca.go:14: os.Environ",
			"ca/ca.go:15: log.Fatalf", "ca/ca.go:16: os.Exit", "ca/ca.go:17: panic",
		}},
		{"calls", one("ca/ca.go", "package ca\n\nimport . \"time\"\n\nvar _ = Now()\n"), []string{"ca/ca.go:1: dot import"}},

		{"init", one("ca/ca.go", "package ca\n\ntype t int\n\nfunc (t) init() {}\n"), nil},
		{"init", one("ca/ca.go", "package ca\n\nfunc init() {}\n"), []string{"ca/ca.go:3: func init"}},
		{"init", one("cmd/omca/main.go", "package main\n\nfunc init() {}\n"), []string{"cmd/omca/main.go:3: func init"}},

		{"goroutines", one("omca.go", `package omca

func f() {
	go func() { defer func() { recover() }() }()
	go w.serve()
	s.work.Go(func() { err := s.panics.Keep(ctx, "x", work) })
	time.AfterFunc(d, func() { _ = l.guard("x", c.Close) })
	forget := strings.Fields("go Go")
}

func (w *w) serve() { recover() }
`), nil},
		{"goroutines", one("omca_test.go", "package omca\n\nfunc f() { go f() }\n"), nil},
		{"goroutines", one("cmd/omca/main.go", "package main\n\nfunc f() { go f() }\n"), nil},
		{"goroutines", one("internal/bench/x.go", "package bench\n\nfunc f() { go f() }\n"), nil},
		{"goroutines", one("omca.go", `package omca

func f() {
	go f()
	s.work.Go(func() { s.renewals() })
	go func() { w.serve() }()
	s.work.Go(s.run)
	time.AfterFunc(d, func() { c.Close() })
}

func (s *s) run() {}
`), []string{"omca.go:4: that nothing guards", "omca.go:5: that nothing guards", "omca.go:6: that nothing guards", "omca.go:7: that nothing guards", "omca.go:8: that nothing guards"}},

		{"locks", one("ca/ca.go", `package ca

import "slices"

func f() {
	s.mu.Lock()
	defer s.mu.Unlock()
	g()
}

func g() {
	s.mu.Lock()
	s.all = slices.Clone(append(s.all, 1))
	close(s.moved)
	after := s.at.Add(d)
	func() { later := func() { f() } }()
	s.mu.Unlock()
	f()
	s.mu.RLock()
	if x {
		defer s.mu.RUnlock()
		f()
	}
	s.mu.RUnlock()
	s.other.Lock()
	s.mu.Lock()
	s.mu.Unlock()
}
`), []string{"ca/ca.go:16: calls"}},
		{"locks", one("ca/ca.go", `package ca

func f() {
	s.mu.Lock()
	s.n++
	s.mu.Unlock()
}
`), nil},
		{"locks", one("ca/ca.go", `package ca

import "omca/pki"

func f() {
	s.mu.Lock()
	s.x = s.rebuild()
	if pki.Same(a, b) {
		f()
	}
	s.mu.Unlock()
	for {
		s.mu.RLock()
		n := len(s.all())
		s.mu.RUnlock()
	}
}
`), []string{"ca/ca.go:7: calls rebuild while s.mu is locked", "ca/ca.go:8: calls Same", "ca/ca.go:9: calls f", "ca/ca.go:14: calls all"}},
		{"variables", one("ca/ca.go", `package ca

import (
	"embed"
	"errors"
	"fmt"
	"io"
	"net/url"
	"regexp"
)

// ErrX is.
var ErrX = errors.New("x")

var (
	errY    = fmt.Errorf("%w: y", ErrX)
	pattern = regexp.MustCompile("x")
	table   = map[string][]int{"a": {1, 2}}
	bytes   = []byte("x")
	calls   = func() int { return len(table) }

	_ io.Reader = (*t)(nil)
)

//go:embed pages
var pages embed.FS

type t struct{ io.Reader }

func f(url *url.URL, m map[string]int) {
	url.Path = "x"
	m["x"]++
	x := table["a"]
	_ = &x
	_ = &t{}
}
`), nil},
		{"variables", one("internal/bench/x.go", "package bench\n\nvar sink int\n"), nil},
		{"variables", map[string]string{
			"ca/ca.go": `package ca

import (
	"flag"
	"net/http"
	"sync"
)

var (
	unset    int
	mutex    sync.Mutex
	once     = sync.Once{}
	pointer  = &http.Client{}
	made     = make(map[string]int)
	computed = compute()
)

var (
	assigned  = 1
	counted   = 1
	field     = struct{ f int }{1}
	registry  = map[string]int{}
	removed   = map[string]int{"a": 1}
	addressed = 1
	ranged    = 1
	hook      = compute
)

func compute() int {
	assigned = 2
	counted++
	field.f = 2
	delete(removed, "a")
	_ = &addressed
	for ranged = range 3 {
	}
	flag.CommandLine = nil
	http.DefaultClient.Timeout = 0
	return 0
}
`,
			"ca/other.go":   "package ca\n\nfunc other() { (registry[\"a\"]) = 1 }\n",
			"ca/ca_test.go": "package ca\n\nfunc test() { hook = nil }\n",
		}, []string{
			"ca/ca.go:10: unset has no value", "ca/ca.go:11: mutex has no value", "ca/ca.go:12: once is made to be changed",
			"ca/ca.go:13: pointer is a pointer", "ca/ca.go:14: made calls", "ca/ca.go:15: computed calls",
			"ca/ca.go:30: assigned is assigned", "ca/ca.go:31: counted is assigned", "ca/ca.go:32: field is assigned",
			"ca/ca.go:33: removed is assigned", "ca/ca.go:34: addressed is assigned", "ca/ca.go:35: ranged is assigned",
			"ca/ca.go:37: variable of package flag", "ca/ca.go:38: variable of package net/http",
			"ca/ca_test.go:3: hook is assigned", "ca/other.go:3: registry is assigned",
		}},

		{"errors", one("ca/ca.go", `package ca

import (
	"errors"
	"fmt"
)

var (
	_ = errors.New("not found")
	_ = fmt.Errorf("%w: x", nil)
	_ = fmt.Errorf("RSA keys: %w", nil)
	_ = fmt.Errorf("X.509: %w", nil)
	_ = fmt.Errorf("Ed25519: %w", nil)
	_ = fmt.Errorf("")
	_ = fmt.Sprintf("Not an error.")
)
`), nil},
		{"errors", one("ca/ca.go", `package ca

import (
	"errors"
	"fmt"
)

var (
	_ = errors.New("Not found")
	_ = fmt.Errorf("Reading: %w", nil)
	_ = fmt.Errorf("reading failed.")
	_ = fmt.Errorf("reading failed\n")
)
`), []string{"ca/ca.go:9: begins with a capital", "ca/ca.go:10: begins with a capital", "ca/ca.go:11: ends with", "ca/ca.go:12: ends with"}},

		{"formatted", one("ca/ca.go", "package ca\n\nvar _ = 1\n"), nil},
		{"formatted", one("ca/ca.go", "package ca\nvar  _ = 1\n"), []string{"ca/ca.go:1: not formatted"}},
		{"formatted", one("ca/ca_test.go", "package ca\n\n\n\nvar _ = 1"), []string{"ca/ca_test.go:1: not formatted"}},

		{"finished", one("ca/ca.go", "package ca\n\n// All is done.\nvar _ = \"TODO\"\n"), nil},
		{"finished", one("ca/ca.go", "package ca\n\n// TODO: more.\n\n/* and\nFIXME */\n"), []string{"ca/ca.go:3: TODO", "ca/ca.go:5: FIXME"}},
		{"finished", one("ca/ca_test.go", "package ca // TODO\n"), []string{"ca/ca_test.go:1: TODO"}},
	}
}

func one(name, src string) map[string]string { return map[string]string{name: src} }

// Every rule can fail, and does not fail on what keeps it.
func TestSamples(t *testing.T) {
	type tally struct{ kept, broken int }
	tallies := map[string]tally{}
	for _, s := range samples() {
		tree := fstest.MapFS{}
		for name, src := range s.files {
			tree[name] = &fstest.MapFile{Data: []byte(src)}
		}
		fset := token.NewFileSet()
		packages, err := load(tree, fset)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rules() {
			if r.name != s.rule {
				continue
			}
			if diff := cmp.Diff(s.want, r.breaches(packages, fset), cmp.Comparer(says)); diff != "" {
				t.Errorf("%s: %v\n(-want +got)\n%s", r.name, s.files, diff)
			}
			tally := tallies[r.name]
			if len(s.want) == 0 {
				tally.kept++
			} else {
				tally.broken++
			}
			tallies[r.name] = tally
		}
	}
	for _, r := range rules() {
		if tally := tallies[r.name]; tally.kept == 0 || tally.broken == 0 {
			t.Errorf("rule %q has %d samples that keep it and %d that break it, want at least one of each", r.name, tally.kept, tally.broken)
		}
	}
}

// says tells whether one of two breaches has the place of the other and contains its text.
func says(a, b string) bool {
	placeA, textA, _ := strings.Cut(a, ": ")
	placeB, textB, _ := strings.Cut(b, ": ")
	return placeA == placeB && (strings.Contains(textA, textB) || strings.Contains(textB, textA))
}
