package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"omca/internal/client"
	"omca/internal/offline"
	"omca/internal/wire"
	"omca/pki/flocker"
)

// maxClusterFiles bounds the certificates of a cluster that are read.
const maxClusterFiles = 2000

// importVerb takes over a cluster that lived in a directory.
func importVerb() verb {
	return verb{
		name: "import", usage: "take over an offline cluster: its CA, its users, and all that it signed",
		flags: []cli.Flag{
			&cli.StringFlag{Name: "from", Usage: "`DIR` with cluster.crt, cluster.key and the certificates signed by it"},
			&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "do not ask"},
		},
		example: "omca system/sec/ca import --from /root/flocker-ca", run: adoptCluster,
	}
}

func adoptCluster(ctx context.Context, c *call) error {
	dir, err := c.required("from")
	if err != nil {
		return err
	}
	p, err := c.path()
	if err != nil {
		return err
	}
	if dir, err = where(dir); err != nil {
		return err
	}
	cluster, err := c.readCluster(dir)
	if err != nil {
		return err
	}
	api, err := c.api(ctx)
	if err != nil {
		return err
	}
	if err := c.consent(ctx, "import", fmt.Sprintf("make %s the CA of %s, with %d certificates?", p, dir, len(cluster.Signed))); err != nil {
		return err
	}
	done, err := api.Adopt(ctx, p, cluster)
	if err != nil {
		return err
	}
	if c.format != "table" {
		return emitOne(c.printer, done, adoptedColumns())
	}
	c.sayAdopted(done)
	return nil
}

func adoptedColumns() []column[wire.Adopted] {
	type adopted = wire.Adopted
	return []column[adopted]{
		{name: "CA", text: func(a adopted) string { return a.Path }},
		{name: "CHANGED", text: func(a adopted) string { return fmt.Sprint(a.IsChanged) }},
		{name: "USERS", text: func(a adopted) string { return strings.Join(a.Users, " ") }},
		{name: "RECORDED", text: func(a adopted) string { return fmt.Sprint(a.Recorded) }},
		{name: "KNOWN", text: func(a adopted) string { return fmt.Sprint(a.Known) }},
		{name: "UNNAMED", text: func(a adopted) string { return strings.Join(a.Unnamed, " ") }},
	}
}

// sayAdopted tells what an adoption did, a line for each kind of thing.
func (c *call) sayAdopted(done wire.Adopted) {
	if !done.IsChanged && done.Recorded == 0 {
		c.print("unchanged\n")
		return
	}
	if done.IsChanged {
		c.print("%s is the CA of the cluster now\n", done.Path)
	}
	c.print("%d certificates recorded, %d known already\n", done.Recorded, done.Known)
	for _, user := range done.Users {
		c.print("created %s\n", user)
	}
	if len(done.Unnamed) > 0 {
		c.notice(fmt.Sprintf("no object can have the name of %s: their certificates are recorded for %s, and are revoked by serial number",
			strings.Join(done.Unnamed, ", "), done.Path))
	}
}

// readCluster reads the CA of a directory and every other certificate there.
func (c *call) readCluster(dir string) (wire.Adoption, error) {
	// It says what is wrong in the words of these files.
	if _, err := c.maker().Open(dir); err != nil {
		return wire.Adoption{}, err
	}
	var a wire.Adoption
	for name, to := range map[string]*string{offline.CertificateFile: &a.Certificate, offline.KeyFile: &a.PrivateKey} {
		text, err := readFile(filepath.Join(dir, name), maxRequest)
		if err != nil {
			return wire.Adoption{}, err
		}
		*to = string(text)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return wire.Adoption{}, err
	}
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool {
		return e.IsDir() || !strings.HasSuffix(e.Name(), ".crt") || e.Name() == offline.CertificateFile
	})
	if len(entries) > maxClusterFiles {
		return wire.Adoption{}, fmt.Errorf("%s has %d certificates, at most %d are read at once", dir, len(entries), maxClusterFiles)
	}
	for _, e := range entries {
		text, err := readFile(filepath.Join(dir, e.Name()), maxRequest)
		if err != nil {
			return wire.Adoption{}, err
		}
		a.Signed = append(a.Signed, wire.AdoptedFile{Name: e.Name(), Certificate: string(text)})
	}
	return a, nil
}

// offlineExport writes the daemon's CA to a directory.
func offlineExport(ctx context.Context, c *call) error {
	dir, err := where(c.flags.Args().First())
	if err != nil {
		return err
	}
	api, err := c.api(ctx)
	if err != nil {
		return err
	}
	authority, err := api.Authority(ctx)
	if err != nil {
		return err
	}
	p, err := client.ParsePath(authority.Path)
	if err != nil {
		return err
	}
	key, err := api.Key(ctx, p, "private_key")
	if err != nil {
		return about(p.String(), err)
	}
	err = c.maker().Export(dir, []byte(authority.CertificateChain), key)
	var file *flocker.FileError
	if err != nil && !errors.As(err, &file) {
		return fmt.Errorf("%s: %w", p, err)
	}
	if err != nil {
		return err
	}
	c.print("Created cluster.key and cluster.crt. Please keep cluster.key secret, as anyone who can access it will be able to control your cluster.\n")
	if !strings.Contains(authority.Subject, "OU=") {
		c.notice(fmt.Sprintf("the CA has no organizational unit, in which Flocker looks for the UUID of the cluster: set it with \"%s %s config update --set ou=UUID\" and \"%s %s certificate create\", if Flocker is to read these", c.name, p, c.name, p))
	}
	return nil
}
