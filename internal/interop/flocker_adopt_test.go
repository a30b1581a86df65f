package interop_test

import (
	"strings"
	"testing"
	"time"

	"omca/internal/interop/lab"
	"omca/pki/flocker"
)

// TestFlockerOriginalIsAdopted gives a cluster that Flocker made, of version 1, a
// daemon: its users call with what they have, until that is taken back.
func TestFlockerOriginalIsAdopted(t *testing.T) {
	lab.Require(t, "openssl", "curl")
	c := originalCluster(t)
	home := lab.NewHome(t)
	home.Run(t, "init")
	home.Run(t, "system/sec/ca", "import", "--from", c.dir)
	home.Run(t, "certificate", "create", "--yes")
	d := home.Start(t)
	whoami := func(role flocker.Role) lab.Result {
		return lab.TryTool(t, "curl", "-sS", "--max-time", "20", "--cacert", c.ca(), "--cert", c.files[role]+".crt", "--key", c.files[role]+".key", d.URL("/whoami"))
	}
	if r := whoami(flocker.User); r.Status != 0 || !strings.Contains(r.Stdout, `"name":"alice"`) || !strings.Contains(r.Stdout, `"raw_grant":""`) {
		t.Errorf("alice: %+v", r)
	}
	for _, role := range []flocker.Role{flocker.Node, flocker.Control} {
		if r := whoami(role); strings.Contains(r.Stdout, `"name"`) || !strings.Contains(r.Stdout, `"status":401`) {
			t.Errorf("%s is somebody: %+v", role, r)
		}
	}
	d.Run(t, "system/usr/alice", "certificate", "revoke", "--reason", "keyCompromise")
	if r := whoami(flocker.User); r.Status == 0 {
		t.Errorf("revoked, alice gets %+v", r)
	}
	node := strings.Fields(home.Run(t, "certificate", "ls", "--profile", "node"))[5] // below five words of headings
	d.Run(t, "certificate", "revoke", node, "--yes")
	if r := whoami(flocker.Node); r.Status == 0 {
		t.Errorf("revoked, the node gets %+v", r)
	}

	// OpenSSL reads the list, which comes a moment after.
	crl := ""
	for deadline := time.Now().Add(lab.Patience); ; {
		crl = home.File(t, "list.pem", lab.Tool(t, "curl", "-sS", "--cacert", c.ca(), d.URL("/crl/ca.pem")))
		if strings.Count(lab.Tool(t, "openssl", "crl", "-in", crl, "-noout", "-text"), "Serial Number:") == 2 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("two were revoked, and the list does not come to say so")
		}
	}
	for _, role := range []flocker.Role{flocker.User, flocker.Node} {
		r := lab.TryTool(t, "openssl", "verify", "-crl_check", "-CRLfile", crl, "-CAfile", c.ca(), c.files[role]+".crt")
		if r.Status == 0 || !strings.Contains(r.Stdout+r.Stderr, "certificate revoked") {
			t.Errorf("%s on the list: %+v", role, r)
		}
	}
	if r := lab.TryTool(t, "openssl", "verify", "-crl_check", "-CRLfile", crl, "-CAfile", c.ca(), c.files[flocker.Control]+".crt"); r.Status != 0 {
		t.Errorf("control is on the list: %+v", r)
	}
}
