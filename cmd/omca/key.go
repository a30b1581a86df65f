package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"omca/internal/client"
	"omca/internal/hint"
	"omca/internal/remote"
	"omca/internal/wire"
)

// nameFlag is --name; --key is the same.
func nameFlag() cli.Flag {
	return &cli.StringFlag{Name: "name", Aliases: []string{"key"}, Usage: "`NAME` of the key"}
}

func valueFlags() []cli.Flag {
	return []cli.Flag{
		nameFlag(),
		&cli.StringFlag{Name: "from", Usage: "read the value from `FILE`, - (standard input), URL, or a directory, one key a file"},
		&cli.StringFlag{Name: "value", Usage: "the `VALUE` itself; not for secrets: others would see them in the list of processes"},
		&cli.StringFlag{Name: "password-file", Usage: "`FILE` with the password of a private_key that is encrypted, or -; a terminal is asked"},
	}
}

// keyVerbs are the verbs of the keys of an object.
func keyVerbs() []verb {
	return []verb{
		{
			name: "add", usage: "add a key", flags: valueFlags(), run: addKey,
			example: "omca system/sec/ca-external key add --name certificate_chain --from ~/ca_crt_chain.pem",
		},
		{
			name: "change", usage: "replace the value of a key", flags: valueFlags(), run: changeKey,
			example: "omca system/sec/ca key change --name private_key --from ~/ca.key\nread -rs PW; printf %s \"$PW\" | omca system/usr/usr1 key change --name password --from -",
		},
		{
			name: "decode", usage: "print the value of a key, byte for byte", flags: []cli.Flag{nameFlag()}, run: decodeKey,
			example: "omca system/usr/usr1 key decode --name certificate",
		},
		{name: "list", aliases: []string{"ls"}, usage: "list the keys", example: "omca system/usr/usr1 key list", run: listKeys},
		{
			name: "remove", aliases: []string{"rm"}, usage: "remove keys; one that is not there is no error", run: removeKeys,
			flags:   []cli.Flag{&cli.StringSliceFlag{Name: "name", Aliases: []string{"key"}, KeepSpace: true, Usage: "`NAME` of the key; repeatable"}, yesFlag()},
			example: "omca ns1/sec/db key remove --name password",
		},
		{
			name: "rename", usage: "rename a key", run: renameKey,
			flags:   []cli.Flag{nameFlag(), &cli.StringFlag{Name: "to", Usage: "the new `NAME`"}},
			example: "omca ns1/cfg/web key rename --name index.htm --to index.html",
		},
		{
			name: "edit", aliases: []string{"ed"}, usage: "edit the value of a key in $EDITOR", flags: []cli.Flag{nameFlag()}, run: editKey,
			example: "EDITOR=nano omca ns1/cfg/web key edit --name index.html",
		},
	}
}

func (p *program) keyGroup(target string) *cli.Command {
	return group("key", "the keys of the object", p.commands(target, keyVerbs())...)
}

// olderKeyVerbs are the same without the word key, as earlier manuals have them.
func olderKeyVerbs() []verb {
	verbs := keyVerbs()
	for i := range verbs {
		verbs[i].older, verbs[i].aliases = true, nil
		verbs[i].example = strings.NewReplacer(" key list", " keys", " key ", " ", " --name ", " --key ").Replace(verbs[i].example)
		if verbs[i].name == "list" {
			verbs[i].name = "keys"
		}
	}
	return verbs
}

func addKey(ctx context.Context, c *call) error    { return c.setKeys(ctx, "add") }
func changeKey(ctx context.Context, c *call) error { return c.setKeys(ctx, "change") }

// setKeys adds or changes the keys that the flags give.
func (c *call) setKeys(ctx context.Context, action string) error {
	p, err := c.path()
	if err != nil {
		return err
	}
	values, err := c.values(ctx, action)
	if err != nil {
		return err
	}
	if err := c.unlock(ctx, values); err != nil {
		return err
	}
	api, err := c.api(ctx)
	if err != nil {
		return err
	}
	if len(values) > 1 || values[0].Password != "" {
		return api.PatchKeys(ctx, p, values)
	}
	set := api.AddKey
	if action == "change" {
		set = api.ChangeKey
	}
	for _, v := range values {
		if err := set(ctx, p, v.Name, v.Bytes); err != nil {
			return err
		}
	}
	return nil
}

// unlock adds the password to the private key that is encrypted, if one is: that of --password-file, or what a terminal is asked for.
func (c *call) unlock(ctx context.Context, values []wire.KeyEdit) error {
	i := slices.IndexFunc(values, func(v wire.KeyEdit) bool { return v.Name == "private_key" && lockedKey(v.Bytes) })
	from := c.flags.String("password-file")
	switch {
	case i < 0 && from == "", i >= 0 && from == "" && !isTerminal(c.stdin):
		return nil // the server says what is missing
	case i < 0:
		return usagef("--password-file is for a private_key that is encrypted, and this is none")
	}
	var password string
	var err error
	switch {
	case from == "-":
		var text []byte
		text, err = c.takeStdin(ctx, "the password")
		password = string(lessNewline(text))
	case from != "":
		var text []byte
		text, err = remote.ReadSecret(from)
		password = string(lessNewline(text))
	default:
		password, err = c.askPassword(ctx, "password of the private key")
	}
	if err == nil && password == "" {
		err = errors.New("the password is empty")
	}
	values[i].Password = password
	return err
}

// lockedKey tells whether a PEM text is an encrypted key: PKCS #8 (RFC 7468, section 11), or the header of RFC 1421.
func lockedKey(text []byte) bool {
	return bytes.Contains(text, []byte("-----BEGIN ENCRYPTED PRIVATE KEY-----")) || bytes.Contains(text, []byte("Proc-Type: 4,ENCRYPTED"))
}

// values reads what --name, --from and --value give.
func (c *call) values(ctx context.Context, action string) ([]wire.KeyEdit, error) {
	name, from := c.flags.String("name"), c.flags.String("from")
	hasValue := c.flags.IsSet("value")
	switch {
	case hasValue && from != "":
		return nil, usagef("key %s: both --from and --value given", action)
	case !hasValue && from == "":
		return nil, usagef("key %s: missing --from or --value", action)
	case hasValue && name == "":
		return nil, usagef("key %s: missing --name", action)
	case hasValue && name == "private_key":
		return nil, hint.With(usagef("key %s: %s cannot be given with --value: anyone could read it in the list of processes", action, name),
			"give it by a file or a pipe: --from FILE, --from -")
	case hasValue && c.isPassword(name): // the manuals' form, and a password can be changed
		c.notice("everybody who lists processes saw the password, and the shell may have kept it: --from reads it from a file, or from standard input with -")
		return []wire.KeyEdit{{Action: action, Name: name, Bytes: []byte(c.flags.String("value"))}}, nil
	case hasValue:
		return []wire.KeyEdit{{Action: action, Name: name, Bytes: []byte(c.flags.String("value"))}}, nil
	case isDirectory(from):
		if name != "" {
			return nil, usagef("key %s: --name %q given, but --from %q is a directory: its files name the keys", action, name, from)
		}
		return readDirectory(from, action)
	}
	if name == "" {
		if isStdin(from) {
			return nil, usagef("key %s: missing --name", action)
		}
		name = baseName(from)
	}
	value, err := c.readSource(ctx, from, maxValue)
	if c.isPassword(name) {
		value = lessNewline(value)
	}
	return []wire.KeyEdit{{Action: action, Name: name, Bytes: value}}, err
}

// isPassword tells whether the key of the object that the command is about is the password of a user.
func (c *call) isPassword(key string) bool {
	p, err := client.ParsePath(c.target)
	return err == nil && p.Kind == "usr" && key == "password"
}

func decodeKey(ctx context.Context, c *call) error {
	name, err := c.required("name")
	if err != nil {
		return err
	}
	api, p, err := c.object(ctx)
	if err != nil {
		return err
	}
	value, err := api.Key(ctx, p, name)
	if err != nil {
		return err
	}
	c.value(value)
	return nil
}

func listKeys(ctx context.Context, c *call) error {
	api, p, err := c.object(ctx)
	if err != nil {
		return err
	}
	keys, err := api.Keys(ctx, p)
	if err != nil {
		return err
	}
	if c.format == "table" { // names alone, for loops of a shell
		for _, k := range keys {
			c.print("%s\n", k.Name)
		}
		return nil
	}
	return emit(c.printer, keys, []column[wire.KeyInfo]{
		{name: "NAME", text: func(k wire.KeyInfo) string { return k.Name }},
		{name: "SIZE", text: func(k wire.KeyInfo) string { return strconv.Itoa(k.Size) }},
	})
}

func removeKeys(ctx context.Context, c *call) error {
	names := c.flags.StringSlice("name")
	if len(names) == 0 {
		return usagef("key remove: missing --name")
	}
	api, p, err := c.object(ctx)
	if err != nil {
		return err
	}
	steps := make([]wire.KeyEdit, len(names))
	for i, name := range names {
		steps[i] = wire.KeyEdit{Action: "remove", Name: name}
	}
	return c.breaking(ctx, "key remove", func(ctx context.Context) error { return api.PatchKeys(ctx, p, steps) })
}

func renameKey(ctx context.Context, c *call) error {
	name, err := c.required("name")
	if err != nil {
		return err
	}
	to, err := c.required("to")
	if err != nil {
		return err
	}
	api, p, err := c.object(ctx)
	if err != nil {
		return err
	}
	return api.PatchKeys(ctx, p, []wire.KeyEdit{{Action: "rename", Name: name, To: to}})
}

func editKey(ctx context.Context, c *call) error {
	name, err := c.required("name")
	if err != nil {
		return err
	}
	api, p, err := c.object(ctx)
	if err != nil {
		return err
	}
	set := api.ChangeKey
	before, err := api.Key(ctx, p, name)
	var problem *client.Error
	if errors.As(err, &problem) && problem.Status == http.StatusNotFound {
		if _, err := api.Keys(ctx, p); err != nil { // it is the object that is missing
			return err
		}
		set, err = api.AddKey, nil
	}
	if err != nil {
		return err
	}
	after, err := c.edit(ctx, path.Base(name), before, maxValue)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if bytes.Equal(before, after) {
		c.print("unchanged\n")
		return nil
	}
	c.print("committed\n")
	return set(ctx, p, name, after)
}
