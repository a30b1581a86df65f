package omca_test

import (
	"crypto/x509"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"omca"
	"omca/internal/store/etcd/etcdtest"
)

// The table of revocation: {a CA} x {an event at the object that holds it} x {revoked
// before it, or after} x {an observation}. In each cell the certificate that was revoked
// is refused and listed, and those beside it are accepted.
//
// A cell that cannot exist shows why: the object of the cluster's CA can be neither
// deleted, made anew nor emptied, and the attempt gets 409. The chain of a certificate
// leads to a trusted root in every cell. Where the root is what the object held, that is
// by cluster.ca and another object, which has the certificate of the CA and no key.

// tableRow is a CA, with users below it.
type tableRow struct {
	name string
	make func(*cell)
}

func tableRows() []tableRow {
	return []tableRow{
		{"cluster CA", (*cell).clusterCA},
		{"subordinate", (*cell).subordinate},
		{"subordinate of a subordinate", (*cell).belowSubordinate},
		{"below a revoked subordinate", (*cell).revokedSubordinate},
		{"subordinate that is an anchor", (*cell).revokedAnchor},
		{"former CA", (*cell).formerCA},
		{"imported CA without SKI", (*cell).importedWithoutSKI},
		{"imported cluster CA without SKI", (*cell).importedClusterCA},
		{"two CAs with one SKI", func(c *cell) { c.twoWithOneSKI(c.madeCA("ns1/sec/one", "One CA")) }},
		{"two imported CAs with one SKI", func(c *cell) { c.twoWithOneSKI(c.importedCA("ns1/sec/one", "One CA")) }},
		{"two CAs with one name", func(c *cell) { c.twoWithOneName(c.madeCA("ns1/sec/one", "Same CA")) }},
		{"two imported CAs with one name", func(c *cell) { c.twoWithOneName(c.importedCA("ns1/sec/one", "Same CA")) }},
	}
}

// tableColumn is an event at the object that holds the CA.
type tableColumn struct {
	name   string
	before func(*cell) // while nothing is revoked yet; nil for nothing
	do     func(*cell)

	untouched bool // nothing happens, so that tickets are taken
	ends      bool // the process ends, and its connections with it
	restores  bool // from a backup, which has no sessions
	shared    bool // also where nodes share a store: one of each kind of change
}

func tableColumns() []tableColumn {
	return []tableColumn{
		{name: "object there", do: func(*cell) {}, untouched: true, shared: true},
		{name: "object deleted", do: (*cell).deleteObject, shared: true},
		{name: "chain removed", do: (*cell).removeChain},
		{name: "forced anew", do: (*cell).forceAnew},
		{name: "foreign CA imported over it", do: (*cell).importOver, shared: true},
		{name: "rekeyed under another name", do: (*cell).rekeyRenamed},
		{name: "restored from a backup", do: (*cell).restore, ends: true, restores: true},
		{name: "restored from an older backup", before: (*cell).backUp, do: (*cell).restore, ends: true, restores: true},
		{name: "after a restart", do: (*cell).restart, ends: true, shared: true},
	}
}

// tableObservation looks at one certificate, revoked or not.
type tableObservation struct {
	name string
	see  func(*cell, *bearer)
}

// tableObservations begins with what has to hold at once. The first is made again at
// the end, when lists and answers were made anew.
func tableObservations() []tableObservation {
	return []tableObservation{
		{"new handshake", (*cell).seeHandshake},
		{"resumption in TLS 1.2", (*cell).seeResumption12},
		{"resumption in TLS 1.3", (*cell).seeResumption13},
		{"open HTTP 1.1 connection", (*cell).seeOpen1},
		{"open HTTP 2 connection", (*cell).seeOpen2},
		{"token made with it", (*cell).seeToken},
		{"session made with it", (*cell).seeSession},
		{"CRL", (*cell).seeList},
		{"OCSP", (*cell).seeOCSP},
		{"new handshake at the end", (*cell).seeHandshakeAgain},
	}
}

// tableOrder says what comes first, the revocation or the event.
type tableOrder struct {
	name         string
	revokedFirst bool
}

func tableOrders() []tableOrder {
	return []tableOrder{{"revoked before", true}, {"revoked after", false}}
}

// TestRevocationTable is the table on one node. The short one has one order alone.
func TestRevocationTable(t *testing.T) {
	orders := tableOrders()
	if testing.Short() {
		orders = orders[1:]
	}
	forEachCell(t, tableColumns(), orders, func(c *cell) {
		c.nodes = []*running{runServer(c.t, omca.Config{})}
	})
}

// TestRevocationTableOnAnotherNode is the table on two nodes: changes are made at one of
// them, and observations at the other.
func TestRevocationTableOnAnotherNode(t *testing.T) {
	if testing.Short() {
		t.Skip("TestNodesAgree has the short look at two nodes")
	}
	columns := slices.DeleteFunc(tableColumns(), func(column tableColumn) bool { return !column.shared })
	etcd := etcdtest.Start(t, 1, nil)
	var prefixes atomic.Int64
	forEachCell(t, columns, tableOrders(), func(c *cell) {
		c.nodes = runNodes(c.t, 2, storeURL(etcd, fmt.Sprintf("cell%d", prefixes.Add(1))))
	})
}

// forEachCell runs the cells, each in a cluster of its own, which start starts.
func forEachCell(t *testing.T, columns []tableColumn, orders []tableOrder, start func(*cell)) {
	for _, row := range tableRows() {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			for _, column := range columns {
				t.Run(column.name, func(t *testing.T) {
					t.Parallel()
					for _, order := range orders {
						t.Run(order.name, func(t *testing.T) {
							t.Parallel()
							c := &cell{t: t, column: column, roots: x509.NewCertPool()}
							start(c)
							c.run(t, row, order)
						})
					}
				})
			}
		})
	}
}

// run fills a cell and looks at it.
func (c *cell) run(t *testing.T, row tableRow, order tableOrder) {
	c.prepare()
	row.make(c)
	c.collect(c.all()...)
	if c.column.before != nil {
		c.column.before(c)
	}
	if order.revokedFirst {
		c.revoke()
		c.column.do(c)
		c.await()
	} else {
		c.column.do(c)
		c.await()
		c.collect(c.victim) // its certificate is still good
		c.revoke()
	}
	for _, o := range tableObservations() {
		t.Run(o.name, func(t *testing.T) {
			defer func(all *testing.T) { c.t = all }(c.t)
			c.t = t
			for _, b := range c.all() {
				o.see(c, b)
			}
		})
	}
}
