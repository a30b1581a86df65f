package omca_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"

	"filippo.io/age"

	"omca"
	"omca/ca"
	"omca/pki"
)

// removable is the status of an attempt to take the CA away from its object: the
// cluster's own stays.
func (c *cell) removable(done int) int {
	if c.ca.path == ca.PathCA {
		return http.StatusConflict
	}
	return done
}

// keepTrust adds the CA to cluster.ca before another takes its place as the cluster's.
func (c *cell) keepTrust() {
	c.t.Helper()
	if c.ca.path == ca.PathCA {
		c.trust(c.ca.cert)
	}
}

func (c *cell) deleteObject() {
	c.t.Helper()
	c.post(c.removable(http.StatusOK), "POST", objectAt(c.ca.path)+"/action/delete", nil)
}

func (c *cell) removeChain() {
	c.t.Helper()
	c.post(c.removable(http.StatusNoContent), "DELETE", objectAt(c.ca.path)+"/data/key?name="+ca.KeyChain, nil)
}

func (c *cell) forceAnew() {
	c.t.Helper()
	made := c.removable(http.StatusCreated)
	c.post(made, "POST", objectAt(c.ca.path), map[string]any{"force": true, "keywords": c.ca.keywords})
	if made == http.StatusConflict {
		return
	}
	c.post(http.StatusOK, "POST", objectAt(c.ca.path)+"/certificate", map[string]any{})
	c.expectReplaced()
}

func (c *cell) importOver() {
	c.t.Helper()
	c.keepTrust()
	foreign := newOtherPKI(c.t)
	c.bring(c.ca.path, foreign.cert, foreign.key)
	c.expectReplaced()
}

func (c *cell) rekeyRenamed() {
	c.t.Helper()
	c.keepTrust()
	c.post(http.StatusOK, "PATCH", objectAt(c.ca.path)+"/config?set="+url.QueryEscape("cn=Renamed CA"), nil)
	c.post(http.StatusOK, "POST", objectAt(c.ca.path)+"/certificate/renew", map[string]any{"rekey": true, "replace_external": true})
	c.expectReplaced()
	if cn := c.chainAt(c.ca.path)[0].Subject.CommonName; cn != "Renamed CA" {
		c.t.Fatalf("%s has the common name %q", c.ca.path, cn)
	}
}

// expectReplaced checks that the object holds another CA.
func (c *cell) expectReplaced() {
	c.t.Helper()
	if pki.SameKey(c.chainAt(c.ca.path)[0].PublicKey, c.ca.cert.PublicKey) {
		c.t.Fatalf("%s has the key that it had", c.ca.path)
	}
}

// backUp makes a backup.
func (c *cell) backUp() {
	c.t.Helper()
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		c.t.Fatal(err)
	}
	sealed := local(c.t, c.first().Server, "POST", "/api/backup", map[string]string{"recipient": identity.Recipient().String()})
	plain, err := age.Decrypt(bytes.NewReader(sealed), identity)
	if err != nil {
		c.t.Fatal(err)
	}
	if c.backup, err = io.ReadAll(plain); err != nil {
		c.t.Fatal(err)
	}
}

// restore restores the backup that there is, beside the home that it replaces, or one
// that is made now, without that home.
func (c *cell) restore() {
	c.t.Helper()
	config := omca.RestoreConfig{Home: filepath.Join(c.t.TempDir(), "restored")}
	if c.backup != nil {
		config.Replaces = c.first().home
	} else {
		c.backUp()
	}
	c.first().stop()
	config.From = bytes.NewReader(c.backup)
	if _, err := omca.Restore(c.t.Context(), config); err != nil {
		c.t.Fatal(err)
	}
	c.start(0, config.Home)
}

// restart ends every node and starts it again.
func (c *cell) restart() {
	c.t.Helper()
	for i, r := range c.nodes {
		r.stop()
		c.start(i, r.home)
	}
}

func (c *cell) start(i int, home string) {
	c.t.Helper()
	config := omca.Config{Home: home}
	if len(c.nodes) > 1 {
		config.NodeName = fmt.Sprintf("n%d", i+1)
	}
	c.nodes[i] = runServer(c.t, config)
	if c.public != "" {
		awaitPort(c.t, c.public)
	}
	c.meet()
}

// await waits until the last node knows of the object what the first one knows.
func (c *cell) await() {
	c.t.Helper()
	seen := func(r *running) string {
		status, chain := try(c.t, r.Server, "GET", objectAt(c.ca.path)+"/data/key?name="+ca.KeyChain, nil)
		if status != http.StatusOK {
			return fmt.Sprint(status)
		}
		return string(chain)
	}
	eventually(c.t, "the object on the other node", func() bool { return seen(c.first()) == seen(c.last()) })
}
