package console

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"omca/internal/wire"
)

type overviewPage struct {
	Status *wire.Status // nil for who may not look around, like the next
	CA     *wire.Authority
	Lists  []wire.CRL
	Nodes  []wire.NodeItem  // root's
	Audit  []wire.AuditLine // root's, the last first
	Store  *members         // nil where the store is the node's own
	Chart  chart
	Hands  handsPage // empty until it is asked for
}

// fewAudit is how many lines of the audit trail the overview has.
const fewAudit = 8

// overview shows what the visitor may see of the whole, and leaves out the rest.
// What needs a hand is asked for once it is there: that looks at every object.
func overview(v *visit) error {
	if err := v.identify(); err != nil {
		return err
	}
	var p overviewPage
	authority, err := get[wire.Authority](v, "/api/ca", nil)
	if err == nil {
		p.CA = &authority
	} else if !isRefused(err, http.StatusNotFound, http.StatusForbidden) {
		return err
	}
	status, err := get[wire.Status](v, "/api/daemon/status", nil)
	if err == nil {
		p.Status = &status
		lists, err := get[wire.CRLList](v, "/api/crl", nil)
		if err != nil {
			return err
		}
		p.Lists = lists.Items
		if p.Store, err = v.members(); err != nil {
			return err
		}
	} else if !isRefused(err, http.StatusForbidden) {
		return err
	}
	if v.who.Root {
		nodes, err := get[wire.NodeList](v, "/api/node", nil)
		if err != nil {
			return err
		}
		p.Nodes = nodes.Items
		if p.Audit, err = v.audit(fewAudit); err != nil {
			return err
		}
	}
	list, err := get[wire.CertificateList](v, "/api/certificate", url.Values{"expiring": {fmt.Sprintf("%dd", 7*chartWeeks)}, "revoked": {"false"}, "limit": limit(chartMost)})
	if err != nil {
		return err
	}
	p.Chart = newChart(v.Now(), list)
	return v.show(http.StatusOK, "overview", "Overview", "overview", p)
}

// members are those that keep the store together, and how the one of this node is
// doing.
type members struct {
	wire.ClusterStatus
	Items []wire.ClusterMember
}

// members reads them; nil where the store is the node's own.
func (v *visit) members() (*members, error) {
	list, err := get[wire.MemberList](v, "/api/cluster/member", nil)
	if isRefused(err, http.StatusConflict) {
		return nil, nil //nolint:nilnil // there are none
	}
	if err != nil {
		return nil, err
	}
	m := members{Items: list.Items}
	m.ClusterStatus, err = get[wire.ClusterStatus](v, "/api/cluster/status", nil)
	return &m, err
}

// audit is the end of the audit trail, the last line first.
func (v *visit) audit(most int) ([]wire.AuditLine, error) {
	lines, err := get[wire.AuditLines](v, "/api/audit", url.Values{"limit": limit(most)})
	for i, j := 0, len(lines.Items)-1; i < j; i, j = i+1, j-1 {
		lines.Items[i], lines.Items[j] = lines.Items[j], lines.Items[i]
	}
	return lines.Items, err
}

func showAudit(v *visit) error {
	if err := v.identify(); err != nil {
		return err
	}
	const most = 200
	lines, err := v.audit(most)
	if err != nil {
		return err
	}
	return v.show(http.StatusOK, "audit", "Audit trail", "audit", lines)
}

// A hand is what something needs, and the page that gives it, if there is one.
type hand struct {
	wire.Trouble
	Page, Button string
	Fetch        bool // the button that fetches revocation lists
}

type handsPage struct {
	Asked bool
	Hands []hand
}

// showHands shows what the doctor finds, as a page or for the overview.
func showHands(v *visit) error {
	if err := v.identify(); err != nil {
		return err
	}
	found, err := get[wire.Diagnosis](v, "/api/doctor", nil)
	if err != nil {
		return err
	}
	p := handsPage{Asked: true}
	for _, t := range found.Items {
		if t.Mend != "" { // else it is only good to know
			p.Hands = append(p.Hands, v.hand(t))
		}
	}
	return v.show(http.StatusOK, "hands", "What needs a hand", "overview", p)
}

// hand finds the page that does what the command of a trouble does.
func (v *visit) hand(t wire.Trouble) hand {
	h := hand{Trouble: t}
	of := url.Values{"path": {t.Object}}.Encode()
	switch {
	case strings.HasPrefix(t.Mend, "omca crl refresh") && v.who.Root:
		h.Fetch = true
	case strings.HasSuffix(t.Mend, "certificate renew"), t.Object != "" && strings.HasSuffix(t.Mend, "certificate create"):
		h.Page, h.Button = "/issue?"+of, "Renew…"
	case strings.HasSuffix(t.Mend, "certificate renew --rekey"):
		h.Page, h.Button = "/issue?rekey=yes&"+of, "Renew with a new key…"
	case strings.HasPrefix(t.Mend, "omca cluster config update"):
		h.Page, h.Button = "/cluster/edit", "Edit the cluster…"
	case strings.HasSuffix(t.Mend, " show") && t.Object != "":
		h.Page, h.Button = "/objects/"+t.Object, "Show"
	}
	if t.Object != "" && h.Page != "" {
		if verdict, err := v.may("change", t.Object); err != nil || !verdict.Allowed && h.Button != "Show" {
			h.Page = ""
		}
	}
	return h
}

// refreshLists has the revocation lists of other CAs fetched.
func refreshLists(v *visit) error {
	if _, err := v.form(); err != nil {
		return err
	}
	if _, err := v.post("/api/crl/refresh", nil, wire.RefreshRequest{}); err != nil {
		return err
	}
	return v.to("/?done=fetched")
}
