package remote

import (
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"omca/internal/client"
	"omca/internal/hint"
)

// Local is the name that means this machine: its daemon, or its store. No context has it.
const Local = "local"

// Context is a server, how to know it, and how to call it. Paths are absolute.
type Context struct {
	Server string `yaml:"server" json:"server"` // https://HOST:1215

	CAFile        string `yaml:"ca,omitempty" json:"ca,omitempty"`                         // PEM
	CAFingerprint string `yaml:"ca_fingerprint,omitempty" json:"ca_fingerprint,omitempty"` // SHA-256, hexadecimal; in place of CAFile
	Insecure      bool   `yaml:"insecure,omitempty" json:"insecure,omitempty"`             // whoever answers is believed

	// At most one of these three ways to call.
	CertFile     string `yaml:"cert,omitempty" json:"cert,omitempty"` // client certificate, PEM, with KeyFile
	KeyFile      string `yaml:"key,omitempty" json:"key,omitempty"`
	TokenFile    string `yaml:"token_file,omitempty" json:"token_file,omitempty"` // a token, or the answer that brought it
	User         string `yaml:"user,omitempty" json:"user,omitempty"`             // by password, with PasswordFile or asked
	PasswordFile string `yaml:"password_file,omitempty" json:"password_file,omitempty"`
}

// Check says what is wrong with a context, nil when nothing is. It looks at no file.
func (c Context) Check() error {
	if _, err := client.ParseServer(c.Server); err != nil {
		return err
	}
	if c.CAFile != "" && c.CAFingerprint != "" {
		return errors.New("both ca and ca_fingerprint: one says how to know the server")
	}
	if sum, err := hex.DecodeString(strings.ReplaceAll(c.CAFingerprint, ":", "")); err != nil || len(sum) != 0 && len(sum) != 32 {
		return fmt.Errorf("ca_fingerprint %q is not the 64 hexadecimal digits of a SHA-256", c.CAFingerprint)
	}
	if (c.CertFile == "") != (c.KeyFile == "") {
		return errors.New("cert and key go together")
	}
	if c.PasswordFile != "" && c.User == "" {
		return errors.New("password_file needs user: whose password it is")
	}
	if ways := c.Ways(); len(ways) > 1 {
		return fmt.Errorf("%s: one says who calls", strings.Join(ways, " and "))
	}
	for _, file := range []string{c.CAFile, c.CertFile, c.KeyFile, c.TokenFile, c.PasswordFile} {
		if file != "" && !filepath.IsAbs(file) {
			return fmt.Errorf("path %q is not absolute", file)
		}
	}
	return nil
}

// Ways are the ways to call that the context names: "cert", "token_file" and "user".
func (c Context) Ways() []string {
	var ways []string
	for way, file := range map[string]string{"cert": c.CertFile, "token_file": c.TokenFile, "user": c.User} {
		if file != "" {
			ways = append(ways, way)
		}
	}
	slices.Sort(ways)
	return ways
}

// Book is all contexts of one person.
type Book struct {
	Current  string             `yaml:"current,omitempty"` // "" is Local
	Contexts map[string]Context `yaml:"contexts"`
}

// check says what is wrong with a book.
func (b *Book) check() error {
	for _, name := range b.Names() {
		if err := checkName(name); err != nil {
			return err
		}
		if err := b.Contexts[name].Check(); err != nil {
			return fmt.Errorf("context %q: %w", name, err)
		}
	}
	return nil
}

// Names are the names of the contexts, sorted.
func (b *Book) Names() []string { return slices.Sorted(maps.Keys(b.Contexts)) }

// ErrNoContext means that no context has the name.
var ErrNoContext = errors.New("not found")

// Lookup returns the context with this name: ErrNoContext, wrapped, with the nearest one as a hint, when there is none.
func (b *Book) Lookup(name string) (Context, error) {
	if c, ok := b.Contexts[name]; ok {
		return c, nil
	}
	err := fmt.Errorf("context %q: %w", name, ErrNoContext)
	if near, ok := hint.Nearest(name, append(b.Names(), Local)); ok {
		return Context{}, hint.With(err, "did you mean %s?", near)
	}
	return Context{}, hint.With(err, "\"omca context ls\" lists them, \"omca context add NAME --server URL\" makes one")
}

// Add puts a context into the book. One of that name must not be there, unless it is to be replaced.
func (b *Book) Add(name string, c Context, replace bool) error {
	if err := checkName(name); err != nil {
		return err
	}
	if err := c.Check(); err != nil {
		return fmt.Errorf("context %q: %w", name, err)
	}
	if _, there := b.Contexts[name]; there && !replace {
		return hint.With(fmt.Errorf("context %q exists", name), "replace it with --force, or choose another name")
	}
	if b.Contexts == nil {
		b.Contexts = map[string]Context{}
	}
	b.Contexts[name] = c
	return nil
}

// Use makes a context the current one; Local makes it none.
func (b *Book) Use(name string) error {
	if name == Local {
		b.Current = ""
		return nil
	}
	_, err := b.Lookup(name)
	if err == nil {
		b.Current = name
	}
	return err
}

// Remove takes a context out of the book. When it was the current one there is none then.
func (b *Book) Remove(name string) error {
	if _, err := b.Lookup(name); err != nil {
		return err
	}
	delete(b.Contexts, name)
	if b.Current == name {
		b.Current = ""
	}
	return nil
}

// checkName refuses what cannot be the name of a context: it is part of a file's name.
func checkName(name string) error {
	if name == Local {
		return fmt.Errorf("context %q: the name means this machine", name)
	}
	if name == "" || len(name) > 63 {
		return fmt.Errorf("context %q: a name has 1 to 63 characters", name)
	}
	for i, r := range name {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
		case i > 0 && (r == '-' || r == '.' || r == '_'):
		default:
			return fmt.Errorf("context %q: a name is made of a-z, 0-9, \".\", \"_\" and \"-\", a letter or digit first", name)
		}
	}
	return nil
}
