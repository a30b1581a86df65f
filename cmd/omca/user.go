package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"omca/internal/client"
	"omca/internal/hint"
	"omca/internal/wire"
)

const (
	maxPassword = 4096 // bytes that are read as one; the server says how many it takes
	mostNames   = 100  // users of one command
)

// userGroup are the verbs of users: the comfortable form of those of the objects system/usr/NAME.
func (p *program) userGroup() *cli.Command {
	return group("user", "users: who may call, with which password, and what they may do", p.commands("", userVerbs())...)
}

func userVerbs() []verb {
	from := &cli.StringFlag{Name: "from", Usage: "read the password from `FILE`, or - (standard input); unless given it is asked for, or read from a pipe"}
	return []verb{
		{
			name: "add", usage: "add a user, with a password and a certificate", args: "NAME", min: 1, max: 1, run: addUser,
			flags: []cli.Flag{
				from,
				&cli.BoolFlag{Name: "no-password", Usage: "the user calls with the certificate, or with a token"},
				&cli.StringSliceFlag{Name: "grant", Usage: "`GRANT` such as root or guest:ns1; repeatable"},
				&cli.StringSliceFlag{Name: "role", Usage: "`ROLE` in the tokens of the user, for services that read them; repeatable"},
			},
			example: "omca user add alice --grant admin:ns1 --grant guest:ns2\nprintf %s \"$PASSWORD\" | omca user add alice --grant guest --from -\nomca user add backup --grant guest --no-password",
		},
		{name: "ls", aliases: []string{"list"}, usage: "the users", run: listUsers, example: "omca user ls\nomca user ls -o json"},
		{
			name: "passwd", usage: "set the password of a user, or change your own, which takes the one until now; it counts at once, and the logins with the former one end", args: "[NAME]", max: 1, run: setPassword,
			flags: []cli.Flag{
				from,
				&cli.StringFlag{Name: "current-from", Usage: "your own: read the password until now from `FILE`; unless given it is asked for"},
				&cli.BoolFlag{Name: "hashed", Usage: "it is a hash made elsewhere: argon2id, or bcrypt (htpasswd, ClusterCockpit), which the next login makes anew"},
			},
			example: "omca user passwd alice\nomca --context prod user passwd\nomca user passwd alice --from /run/secrets/alice\nomca user passwd alice --hashed --from alice.bcrypt",
		},
		{name: "disable", usage: "refuse users, in whatever way they call, and close their connections", args: "NAME…", min: 1, max: mostNames, run: disableUsers, flags: []cli.Flag{yesFlag()}, example: "omca user disable alice"},
		{name: "enable", usage: "let users call again", args: "NAME…", min: 1, max: mostNames, run: enableUsers, example: "omca user enable alice"},
		{
			name: "unlock", usage: "let users log in again who were kept out because somebody guessed at their password", args: "NAME…", min: 1, max: mostNames, run: unlockUsers,
			example: "omca user unlock alice",
		},
		{
			name: "rm", aliases: []string{"delete"}, usage: "delete users, and revoke their certificates", args: "NAME…", min: 1, max: mostNames, run: removeUsers,
			flags: []cli.Flag{yesFlag()}, example: "omca user rm alice --yes",
		},
	}
}

// users returns the API and the users that the arguments name.
func (c *call) users(ctx context.Context) (*client.Client, []client.Path, error) {
	var paths []client.Path
	for _, name := range c.flags.Args().Slice() {
		p, err := client.ParsePath("system/usr/" + strings.TrimPrefix(name, "system/usr/"))
		if err != nil || strings.Contains(p.Name, "/") {
			return nil, nil, hint.With(usagef("%q is not the name of a user", name), "a name is like alice")
		}
		paths = append(paths, p)
	}
	api, err := c.api(ctx)
	return api, paths, err
}

// secretValue reads a password, or the hash of one: from --from, or else from the terminal or a pipe.
func (c *call) secretValue(ctx context.Context, what string) ([]byte, error) {
	from := c.flags.String("from")
	if from == "" || isStdin(from) && !isTerminal(c.stdin) {
		text, err := c.newPassword(ctx, what)
		return []byte(text), err
	}
	if isURL(from) || isStdin(from) {
		return nil, usagef("%s: --from is a file, or - with a pipe", c.flags.Command.Name)
	}
	text, err := readFile(from, maxPassword)
	if err != nil {
		return nil, err
	}
	if text = lessNewline(text); len(text) == 0 {
		return nil, fmt.Errorf("%s is empty", from)
	}
	return text, nil
}

// lessNewline takes away the line break that editors and echo put at the end of a file. No password has one.
func lessNewline(text []byte) []byte {
	return bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
}

// addUser adds a user, or nothing: one that cannot be given the password is taken away again.
func addUser(ctx context.Context, c *call) error {
	bare := c.flags.Bool("no-password")
	if bare && c.flags.IsSet("from") {
		return usagef("add: both --from and --no-password")
	}
	api, paths, err := c.users(ctx)
	if err != nil {
		return err
	}
	p := paths[0]
	switch _, err = api.Object(ctx, p); {
	case err == nil:
		return hint.With(fmt.Errorf("user %q is there already: nothing was changed", p.Name),
			"\"%[1]s user passwd %[2]s\" sets the password, \"%[1]s %[3]s set --kw grant+=GRANT\" changes the grants", c.name, p.Name, p)
	case !isNotFound(err):
		return err
	}
	var password []byte
	if !bare {
		if password, err = c.secretValue(ctx, "password of "+p.Name); err != nil {
			return err
		}
	}
	var set []string
	for keyword, flag := range map[string]string{"grant": "grant", "roles": "role"} {
		if words := c.flags.StringSlice(flag); len(words) > 0 {
			set = append(set, keyword+"="+strings.Join(words, " "))
		}
	}
	slices.Sort(set)
	made, err := api.Create(ctx, p, wire.CreateRequest{Keywords: set})
	if err != nil || bare {
		return about(p.String(), err)
	}
	if err = api.SetPassword(ctx, p, password, false); err != nil && made.Created {
		err = errors.Join(err, api.Delete(context.WithoutCancel(ctx), p, client.Deletion{}))
	}
	return about(p.String(), err)
}

func setPassword(ctx context.Context, c *call) error {
	hashed := c.flags.Bool("hashed")
	if hashed && !c.flags.IsSet("from") {
		return usagef("passwd: --hashed goes with --from")
	}
	api, paths, err := c.users(ctx)
	if err != nil {
		return err
	}
	name, own, err := c.ownName(ctx, api, paths)
	switch {
	case err != nil:
		return err
	case own && hashed:
		return usagef("passwd: --hashed is for who may change the user; one's own password is one that can be checked")
	case own:
		return c.changeOwnPassword(ctx, api, name)
	}
	if _, err := api.Keys(ctx, paths[0]); err != nil { // before anything is asked
		return about(paths[0].String(), err)
	}
	value, err := c.secretValue(ctx, "new password of "+paths[0].Name)
	if err != nil {
		return err
	}
	return about(paths[0].String(), api.SetPassword(ctx, paths[0], value, hashed))
}

// ownName says whether the password to set is the caller's own, and the name: without a name it is, and with --current-from; with one's own
// name it is for whoever may not change that user otherwise.
func (c *call) ownName(ctx context.Context, api *client.Client, paths []client.Path) (name string, own bool, err error) {
	asked := len(paths) == 0 || c.flags.IsSet("current-from")
	who, err := api.Whoami(ctx)
	if err != nil {
		return "", false, err
	}
	switch {
	case len(paths) == 0 && who.Auth == "ux":
		return "", false, hint.With(usagef("passwd: whose password? The machine's root, who calls here, has none"), "\"%s user passwd NAME\"", c.name)
	case len(paths) == 0:
		return who.Name, true, nil
	case paths[0].Name != who.Name && asked:
		return "", false, usagef("passwd: --current-from is for one's own password, and you call as %q", who.Name)
	case paths[0].Name != who.Name:
		return "", false, nil
	case asked:
		return who.Name, true, nil
	}
	may, err := api.CanI(ctx, "change", paths[0].String(), nil, "")
	return who.Name, err == nil && !may.Allowed, err
}

// changeOwnPassword changes the password of whoever calls.
func (c *call) changeOwnPassword(ctx context.Context, api *client.Client, name string) error {
	var current []byte
	var err error
	switch file := c.flags.String("current-from"); {
	case isURL(file) || isStdin(file):
		return usagef("passwd: --current-from is a file")
	case file != "":
		if current, err = readFile(file, maxPassword); err != nil {
			return err
		}
		current = lessNewline(current)
	case isTerminal(c.stdin):
		typed, err := c.askPassword(ctx, "current password of "+name)
		if err != nil {
			return err
		}
		current = []byte(typed)
	default:
		return hint.With(fmt.Errorf("no terminal to ask the current password of %q on", name), "give it with --current-from FILE")
	}
	value, err := c.secretValue(ctx, "new password of "+name)
	if err != nil {
		return err
	}
	return api.ChangeOwnPassword(ctx, current, value)
}

// userRecord is a user as listed.
type userRecord struct {
	Name        string `json:"name"`
	Grant       string `json:"grant"`
	Roles       string `json:"roles"`
	Password    bool   `json:"password"` // has one
	Disabled    bool   `json:"disabled"`
	Certificate string `json:"certificate"` // state of it
	NotAfter    string `json:"not_after"`   // of it
}

func listUsers(ctx context.Context, c *call) error {
	api, err := c.api(ctx)
	if err != nil {
		return err
	}
	objects, err := api.Objects(ctx, "system/usr/*")
	if err != nil {
		return err
	}
	var users []userRecord
	for _, o := range objects {
		u := userRecord{
			Name: strings.TrimPrefix(o.Path, "system/usr/"), Grant: o.Keywords["grant"], Roles: o.Keywords["roles"],
			Disabled: slices.Contains([]string{"true", "yes", "on", "1"}, strings.ToLower(o.Keywords["disabled"])),
			Password: slices.ContainsFunc(o.Keys, func(k wire.KeyInfo) bool { return k.Name == "password" }),
		}
		if o.Certificate != nil && o.Certificate.State != "none" {
			u.Certificate, u.NotAfter = o.Certificate.State, instant(o.Certificate.NotAfter)
		}
		users = append(users, u)
	}
	return emit(c.printer, users, []column[userRecord]{
		{name: "NAME", text: func(u userRecord) string { return u.Name }},
		{name: "GRANT", text: func(u userRecord) string { return short(u.Grant, 32) }, in: inList},
		{name: "GRANT", text: func(u userRecord) string { return u.Grant }, in: inFull},
		{name: "ROLES", text: func(u userRecord) string { return u.Roles }, in: inFull},
		{name: "PASSWORD", text: func(u userRecord) string { return yes(u.Password) }},
		{name: "CERTIFICATE", text: func(u userRecord) string { return u.Certificate }},
		{name: "NOT AFTER", text: func(u userRecord) string { return u.NotAfter }, in: inFull},
		{name: "DISABLED", text: func(u userRecord) string { return yes(u.Disabled) }},
	})
}

// yes is "yes", or nothing.
func yes(is bool) string {
	if is {
		return "yes"
	}
	return ""
}

// short keeps a text to a number of characters.
func short(text string, most int) string {
	if r := []rune(text); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return text
}

func disableUsers(ctx context.Context, c *call) error { return c.setDisabled(ctx, "true") }
func enableUsers(ctx context.Context, c *call) error  { return c.setDisabled(ctx, "false") }

func (c *call) setDisabled(ctx context.Context, value string) error {
	return c.eachUser(ctx, func(api *client.Client, p client.Path) error {
		var changed bool
		err := c.breaking(ctx, c.flags.Command.Name, func(ctx context.Context) (err error) {
			changed, err = api.UpdateConfig(ctx, p, client.ConfigChange{Set: []string{"disabled=" + value}})
			return err
		})
		if err == nil && !changed {
			c.print("%s: unchanged\n", p.Name)
		}
		return err
	})
}

func unlockUsers(ctx context.Context, c *call) error {
	return c.eachUser(ctx, func(api *client.Client, p client.Path) error {
		unlocked, err := api.Unlock(ctx, p)
		switch {
		case err != nil:
			return err
		case unlocked:
			c.print("%s: unlocked\n", p.Name)
		default:
			c.print("%s: was not locked\n", p.Name)
		}
		return nil
	})
}

func removeUsers(ctx context.Context, c *call) error {
	api, paths, err := c.users(ctx)
	if err != nil {
		return err
	}
	if err := c.mayDelete(ctx, api, paths, client.Deletion{}); err != nil {
		return err
	}
	return c.eachUser(ctx, func(api *client.Client, p client.Path) error { return api.Delete(ctx, p, client.Deletion{}) })
}

// eachUser does something to the users named, one after another, up to the first that it cannot be done to.
func (c *call) eachUser(ctx context.Context, do func(*client.Client, client.Path) error) error {
	api, paths, err := c.users(ctx)
	if err != nil {
		return err
	}
	for _, p := range paths {
		if err := do(api, p); err != nil {
			return about(p.String(), err)
		}
	}
	return nil
}
