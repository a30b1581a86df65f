package omca

import (
	"github.com/prometheus/client_golang/prometheus"

	"omca/ca"
	"omca/internal/member"
)

// measures are the numbers of the store and of the listener, read when asked for.
func (s *Server) measures() []prometheus.Collector {
	counter := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "omca", Name: name, Help: help}, value)
	}
	return append([]prometheus.Collector{
		panicMeasure{s.panics.Counts},
		counter("listener_refused_total", "Connections refused because too many were open.", func() float64 {
			if l := s.listener.Load(); l != nil {
				return float64(l.Counts().Refused)
			}
			return 0
		}),
		ocspAnswers{s.ocsp.Counts},
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "omca", Name: "certificates_expiring", Help: "Certificates of objects that expire within 30 days, or did within the last 30, and that nothing renews; looked at every hour."}, func() float64 {
			return float64(s.endings.Load())
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "omca", Name: "listener_connections", Help: "Connections open now."}, func() float64 {
			if l := s.listener.Load(); l != nil {
				return float64(l.Counts().Open)
			}
			return 0
		}),
	}, append(s.clockMeasures(), s.db.measures...)...)
}

// clockMeasures are the numbers of the clock of a node among others.
func (s *Server) clockMeasures() []prometheus.Collector {
	if s.db.session == nil {
		return nil
	}
	return []prometheus.Collector{
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: "omca", Name: "clock_offset_seconds",
			Help: "Seconds by which the clock of this node is ahead of the median of all nodes; negative: behind. Beyond 30 the node renews nothing and numbers no revocation list.",
		}, func() float64 {
			own, _ := s.clocks.offsets()
			return own.Seconds()
		}),
	}
}

// ocspAnswers tells what the OCSP responders answered.
type ocspAnswers struct{ counts func() ca.OCSPCounts }

func (ocspAnswers) desc() *prometheus.Desc {
	return prometheus.NewDesc("omca_ocsp_answers_total", "OCSP answers by what they say of a certificate, and requests refused.", []string{"status"}, nil)
}

// Describe is prometheus.Collector.Describe.
func (o ocspAnswers) Describe(out chan<- *prometheus.Desc) { out <- o.desc() }

// Collect is prometheus.Collector.Collect.
func (o ocspAnswers) Collect(out chan<- prometheus.Metric) {
	c := o.counts()
	for status, count := range map[string]uint64{"good": c.Good, "revoked": c.Revoked, "unknown": c.Unknown, "refused": c.Refused} {
		out <- prometheus.MustNewConstMetric(o.desc(), prometheus.CounterValue, float64(count), status)
	}
}

// memberMeasures are the numbers of the member of a cluster that this node is, read
// when asked for.
func memberMeasures(n *node) []prometheus.Collector {
	gauge := func(name, help string, value func(member.Status) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "omca", Subsystem: "member", Name: name, Help: help},
			func() float64 { return value(n.Status()) })
	}
	truth := func(is bool) float64 {
		if is {
			return 1
		}
		return 0
	}
	return []prometheus.Collector{
		gauge("members", "Members of the cluster, as this node knows it.", func(s member.Status) float64 { return float64(s.Members) }),
		gauge("has_leader", "1 while there is a leader: changes are taken.", func(s member.Status) float64 { return truth(s.Leader != "") }),
		gauge("leads", "1 while this node leads.", func(s member.Status) float64 { return truth(s.Leader == s.Name) }),
		gauge("behind", "Changes that this node knows of and has not made yet.", func(s member.Status) float64 { return float64(s.Behind) }),
		gauge("size_bytes", "Bytes of the file of the store.", func(s member.Status) float64 { return float64(s.Size) }),
		gauge("in_use_bytes", "Bytes of it that hold something.", func(s member.Status) float64 { return float64(s.InUse) }),
		gauge("quota_bytes", "Bytes that it may have: then no more changes are taken.", func(s member.Status) float64 { return float64(s.Quota) }),
		gauge("alarms", "Alarms of etcd, of all members.", func(s member.Status) float64 { return float64(len(s.Alarms)) }),
	}
}
