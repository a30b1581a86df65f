package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"omca/internal/client"
	"omca/internal/hint"
	"omca/internal/wire"
	"omca/usr/clustercockpit"
)

// The names under which the program is one of ClusterCockpit's, with the flags and the answers that their scripts know.
const (
	cockpitName   = "cc-backend"
	generatorName = "gen-keypair"
	converterName = "convert-pem-pubkey"
)

// The exit statuses of these programs: there are no others.
const (
	cockpitError = 1
	cockpitUsage = 2
)

// cockpit runs the program under one of these names.
func (p *program) cockpit(ctx context.Context, args []string) int {
	var err error
	switch p.name {
	case generatorName:
		if len(args) > 0 {
			err = usagef("unexpected argument %q: %s takes none", args[0], p.name)
			break
		}
		if err = p.run(ctx, []string{"token", "keypair", "--format", string(clustercockpit.FormatGenKeypair)}); err == nil {
			err = p.tell("This is NO JWT token. You can generate JWT tokens with cc-backend. Use this keypair for signing and validation of JWT tokens in ClusterCockpit.\n")
		}
	case converterName:
		if len(args) != 1 {
			err = errors.New("usage: convert-pem-pubkey FILE, where FILE is a PEM file with an Ed25519 public key")
			break
		}
		err = p.run(ctx, []string{"token", "convert-key", "--format", string(clustercockpit.FormatCrossLogin), "--", args[0]})
	default:
		if err = notOffered(args); err == nil {
			err = p.run(ctx, append([]string{cockpitName}, args...))
		}
	}
	switch status := p.report(err); status {
	case statusUsage:
		return cockpitUsage
	case statusError, statusNotFound, statusRefused:
		return cockpitError
	default:
		return status
	}
}

// notOffered says what does in omca what a flag of cc-backend does that is not here.
func notOffered(args []string) error {
	instead := map[string]string{
		"server":     "\"omca daemon run\" runs the server",
		"init":       "\"omca daemon run\" makes what is missing",
		"config":     "OMCA_HOME says where everything is; keywords are in \"omca cluster config show\"",
		"sync-ldap":  "people of a directory log in with OpenID: keyword listener.openid_issuer",
		"migrate-db": "the store of omca needs no migration",
		"import-job": "jobs are for cc-backend itself",
		"dev":        "",
		"gops":       "",
		"loglevel":   "--quiet leaves notices out",
		"logdate":    "",
		"force-db":   "",
		"revert-db":  "",
		"apply-tags": "",
	}
	for _, arg := range args {
		if arg == "--" {
			break
		}
		name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if try, known := instead[name]; known && strings.HasPrefix(arg, "-") {
			err := usagef("flag %s of cc-backend is not offered under this name", arg)
			if try == "" {
				return err
			}
			return hint.With(err, "%s", try)
		}
	}
	return nil
}

// cockpitVerb is cc-backend: users and tokens in one command.
func cockpitVerb() verb {
	return verb{
		name: cockpitName, older: true, usage: "users and tokens as ClusterCockpit's cc-backend has them", run: runCockpit,
		flags: []cli.Flag{
			&cli.StringFlag{Name: "add-user", Usage: "add a user: `NAME:ROLES:PASSWORD`, with commas between the roles; everybody who lists processes sees the password"},
			&cli.StringFlag{Name: "password-file", Usage: "`FILE` with the password for --add-user NAME:ROLES, - for standard input"},
			&cli.StringFlag{Name: "del-user", Usage: "delete the user `NAME`"},
			&cli.StringFlag{Name: "jwt", Usage: "print a token for the user `NAME`"},
			&cli.BoolFlag{Name: "no-server", Usage: "nothing: no server is started in any case"},
		},
		example: "omca cc-backend --add-user demo:api: --no-server\nomca cc-backend --jwt demo --no-server\nomca cc-backend --del-user demo",
	}
}

func runCockpit(ctx context.Context, c *call) error {
	add, remove, token := c.flags.String("add-user"), c.flags.String("del-user"), c.flags.String("jwt")
	switch {
	case c.flags.IsSet("add-user"):
	case c.flags.IsSet("password-file"):
		return usagef("--password-file goes with --add-user NAME:ROLES")
	case remove == "" && token == "" && !c.flags.Bool("no-server"):
		return hint.With(usagef("nothing to do"), "--add-user NAME:ROLES:PASSWORD, --del-user NAME or --jwt NAME")
	}
	if c.flags.IsSet("add-user") {
		if err := c.addCockpitUser(ctx, add); err != nil {
			return err
		}
	}
	if remove != "" {
		if err := c.deleteCockpitUser(ctx, remove); err != nil {
			return err
		}
	}
	if token == "" {
		return nil
	}
	issued, err := c.foreignToken(ctx, "clustercockpit", wire.ForeignTokenRequest{Subject: token})
	if err != nil {
		return fmt.Errorf("getting user %q: %w", token, err)
	}
	c.print("JWT: Successfully generated JWT for user '%s': %s\n", issued.Subject, issued.Token)
	return nil
}

// cockpitUser is what --add-user says.
type cockpitUser struct {
	path     client.Path
	roles    []clustercockpit.Role
	password string // "" for none: the user calls with a token, or with the certificate
}

// addCockpitUser adds a user, or nothing: one that cannot be given the password is taken away again.
func (c *call) addCockpitUser(ctx context.Context, text string) error {
	u, err := c.parseCockpitUser(ctx, text)
	if err != nil {
		return err
	}
	c.makesHome = true // its manual adds the first user before any server was started
	api, err := c.api(ctx)
	if err != nil {
		return err
	}
	words := make([]string, len(u.roles))
	for i, role := range u.roles {
		words[i] = string(role)
	}
	switch _, err = api.Object(ctx, u.path); {
	case err == nil:
		return hint.With(fmt.Errorf("user %q is there already: nothing was changed", u.path.Name), "\"omca %s set --kw roles='%s'\" changes the roles", u.path, strings.Join(words, " "))
	case !isNotFound(err):
		return err
	}
	made, err := api.Create(ctx, u.path, wire.CreateRequest{Keywords: []string{"roles=" + strings.Join(words, " ")}})
	if err != nil || u.password == "" {
		return err
	}
	// The command that this one stands for takes any password; the server says when it is weak.
	step := wire.KeyEdit{Action: "add", Name: "password", Bytes: []byte(u.password), Weak: true}
	if err = api.PatchKeys(ctx, u.path, []wire.KeyEdit{step}); err != nil && made.Created {
		return errors.Join(err, api.Delete(context.WithoutCancel(ctx), u.path, client.Deletion{}))
	}
	return err
}

// parseCockpitUser reads NAME:ROLES:PASSWORD. The password may have colons, so only the first two count.
func (c *call) parseCockpitUser(ctx context.Context, text string) (cockpitUser, error) {
	parts := strings.SplitN(text, ":", 3)
	from := c.flags.String("password-file")
	switch {
	case from != "" && (len(parts) == 2 || len(parts) == 3 && parts[2] == ""):
	case from != "":
		return cockpitUser{}, errors.New("invalid user format, want NAME:ROLES with --password-file")
	case len(parts) != 3 || parts[0] == "":
		return cockpitUser{}, hint.With(errors.New("invalid user format, want: NAME:ROLE[,ROLE]:PASSWORD"), "or NAME:ROLE[,ROLE] with --password-file FILE, which others cannot see")
	}
	roles, err := clustercockpit.ParseRoles(strings.Split(parts[1], ","))
	if err != nil {
		return cockpitUser{}, err
	}
	path, err := client.ParsePath("system/usr/" + parts[0])
	if err != nil {
		return cockpitUser{}, fmt.Errorf("user %q: %w", parts[0], err)
	}
	u := cockpitUser{path: path, roles: roles}
	switch {
	case from != "":
		text, err := c.readSource(ctx, from, 1024)
		if err != nil {
			return cockpitUser{}, err
		}
		if u.password = strings.TrimRight(string(text), "\r\n"); u.password == "" {
			return cockpitUser{}, fmt.Errorf("%s: the password is empty", from)
		}
	case parts[2] != "":
		u.password = parts[2]
		if !c.global.Bool("quiet") {
			c.notice("everybody who lists processes saw the password, and the shell may have kept it: --password-file reads it from a file or standard input")
		}
	}
	return u, nil
}

// deleteCockpitUser deletes a user. One that is not there is no error.
func (c *call) deleteCockpitUser(ctx context.Context, name string) error {
	path, err := client.ParsePath("system/usr/" + name)
	if err != nil {
		return fmt.Errorf("user %q: %w", name, err)
	}
	api, err := c.api(ctx)
	if err != nil {
		return err
	}
	err = c.breaking(ctx, "--del-user", func(ctx context.Context) error { return api.Delete(ctx, path, client.Deletion{}) })
	var usage *usageError
	switch {
	case isNotFound(err):
		return nil
	case errors.As(err, &usage): // this program has no flag for consent
		return hint.With(err, "\"omca user rm %s --yes\" deletes it", name)
	}
	return err
}

func isNotFound(err error) bool {
	var problem *client.Error
	return errors.As(err, &problem) && problem.Status == http.StatusNotFound
}

// isCockpit tells whether the program was called by one of these names.
func isCockpit(name string) bool {
	return slices.Contains([]string{cockpitName, generatorName, converterName}, name)
}
