package admission

import (
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

const host = "webhook.dragoman.svc"

// rig is an API server with what the chart makes, and a clock.
type rig struct {
	client *fake.Clientset
	now    time.Time
}

func newRig(objects ...runtime.Object) *rig {
	configuration := &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "configuration"},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{
			{Name: "a.example.com", ClientConfig: admissionregistrationv1.WebhookClientConfig{
				Service: &admissionregistrationv1.ServiceReference{Name: "webhook", Namespace: "dragoman"}}},
			{Name: "b.example.com"},
		},
	}
	return &rig{client: fake.NewClientset(append(objects, configuration)...),
		now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
}

func emptySecret() *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "dragoman", Name: "secret"}}
}

func (r *rig) keeper() *Keeper {
	k := NewKeeper(KeeperOptions{Client: r.client, Namespace: "dragoman", Service: "webhook", Secret: "secret",
		Configuration: "configuration"})
	k.now = func() time.Time { return r.now }
	return k
}

// look has a keeper look, which has to succeed.
func look(t *testing.T, k *Keeper) (again bool) {
	t.Helper()
	again, err := k.look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return again
}

// trusted checks that the API server, with its caBundle, takes what the keeper serves for the webhook.
func (r *rig) trusted(t *testing.T, k *Keeper) {
	t.Helper()
	served, err := k.Certificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := r.client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(t.Context(), "configuration",
		metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, webhook := range c.Webhooks {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(webhook.ClientConfig.CABundle)
		if _, err := served.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host, CurrentTime: r.now}); err != nil {
			t.Errorf("%s: %v", webhook.Name, err)
		}
	}
	if c.Webhooks[0].ClientConfig.Service == nil {
		t.Error("the Service of the webhook is gone")
	}
}

func (r *rig) secret(t *testing.T) *corev1.Secret {
	t.Helper()
	secret, err := r.client.CoreV1().Secrets("dragoman").Get(t.Context(), "secret", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

// writes are the verbs by which something was written.
func (r *rig) writes() (verbs string) {
	for _, action := range r.client.Actions() {
		if action.GetVerb() != "get" {
			verbs += " " + action.GetVerb() + " " + action.GetResource().Resource
		}
	}
	r.client.ClearActions()
	return strings.TrimSpace(verbs)
}

func TestACertificateIsMadeOnceForAllReplicas(t *testing.T) {
	for name, test := range map[string]struct {
		r    *rig
		want string
	}{
		"in the empty Secret of the chart": {newRig(emptySecret()),
			"update secrets patch validatingwebhookconfigurations"},
		"where there is no Secret": {newRig(), "create secrets patch validatingwebhookconfigurations"},
	} {
		t.Run(name, func(t *testing.T) {
			first, second := test.r.keeper(), test.r.keeper()
			if first.Ready() == nil {
				t.Error("ready before it has looked")
			}
			look(t, first)
			if got := test.r.writes(); got != test.want || first.Ready() != nil {
				t.Errorf("writes: %s, ready: %v; expected %s", got, first.Ready(), test.want)
			}
			test.r.trusted(t, first)
			look(t, first)
			look(t, second)
			if got := test.r.writes(); got != "" || !first.current.same(second.current) {
				t.Errorf("later there are more writes: %s", got)
			}
		})
	}
}

func TestReplicasThatMakeOneAtOnceAgree(t *testing.T) {
	r := newRig(emptySecret())
	first, second := r.keeper(), r.keeper()
	theirs, err := issue(names{DNS: []string{host}}, nil, r.now)
	if err != nil {
		t.Fatal(err)
	}
	met := false
	r.client.PrependReactor("update", "secrets", func(action clienttesting.Action) (bool, runtime.Object, error) {
		if met {
			return false, nil, nil
		}
		met = true // another one comes between reading and writing
		secret := emptySecret()
		secret.Data = theirs.stored
		if err := r.client.Tracker().Update(action.GetResource(), secret, "dragoman"); err != nil {
			t.Error(err)
		}
		return true, nil, apierrors.NewConflict(schema.GroupResource{Resource: "secrets"}, "secret", errors.New("changed"))
	})
	if _, err := first.look(t.Context()); !apierrors.IsConflict(err) {
		t.Fatalf("%v, expected a conflict", err)
	}
	look(t, second)
	look(t, first)
	if !first.current.same(second.current) || !first.current.same(theirs) {
		t.Error("they serve different certificates")
	}
	r.trusted(t, first)
}

func TestACertificateIsRenewedInTimeAndWithoutAGap(t *testing.T) {
	r := newRig(emptySecret())
	renews, other := r.keeper(), r.keeper()
	look(t, renews)
	look(t, other)
	old := renews.current
	r.now = r.now.Add(validity - renewal - time.Hour)
	r.writes()
	if look(t, renews); r.writes() != "" {
		t.Error("it is renewed before its time")
	}
	r.now = r.now.Add(2 * time.Hour)
	if again := look(t, renews); !again || !renews.current.same(old) {
		t.Error("the new certificate is served before the API server could learn of its authority")
	}
	r.trusted(t, renews)
	r.trusted(t, other)
	look(t, renews)
	if renews.current.same(old) {
		t.Error("the new certificate is not served")
	}
	r.trusted(t, renews)
	r.trusted(t, other) // which serves the old one still
	if again := look(t, other); !again || !other.current.same(old) {
		t.Error("the new certificate is served as soon as it is seen: another replica may have told the API server just now")
	}
	look(t, other)
	if !other.current.same(renews.current) {
		t.Error("the other replica does not take the new certificate")
	}
	r.trusted(t, other)
	r.now = r.now.Add(validity - renewal + time.Hour)
	look(t, renews)
	look(t, renews)
	if renews.current.same(other.current) {
		t.Error("it is not renewed again")
	}
	if n := strings.Count(string(renews.current.authorities), "BEGIN"); n > 2 {
		t.Errorf("%d authorities are trusted, expected two at most", n)
	}
}

func TestWhatSomebodyDidToTheCertificateIsMended(t *testing.T) {
	for name, do := range map[string]func(t *testing.T, r *rig){
		"the Secret was emptied": func(t *testing.T, r *rig) {
			secret := r.secret(t)
			secret.Data = nil
			_, err := r.client.CoreV1().Secrets("dragoman").Update(t.Context(), secret, metav1.UpdateOptions{})
			if err != nil {
				t.Fatal(err)
			}
		},
		"the Secret is gone": func(t *testing.T, r *rig) {
			if err := r.client.CoreV1().Secrets("dragoman").Delete(t.Context(), "secret", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		},
		"the key is another one": func(t *testing.T, r *rig) {
			other, err := issue(names{DNS: []string{host}}, nil, r.now)
			if err != nil {
				t.Fatal(err)
			}
			secret := r.secret(t)
			secret.Data[keyPrivate] = other.stored[keyPrivate]
			if _, err := r.client.CoreV1().Secrets("dragoman").Update(t.Context(), secret, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
		},
		"it is for another Service": func(t *testing.T, r *rig) {
			other, err := issue(names{DNS: []string{"other.dragoman.svc"}}, nil, r.now)
			if err != nil {
				t.Fatal(err)
			}
			secret := r.secret(t)
			secret.Data = other.stored
			if _, err := r.client.CoreV1().Secrets("dragoman").Update(t.Context(), secret, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
		},
		"the authorities are gone": func(t *testing.T, r *rig) {
			secret := r.secret(t)
			secret.Data[keyAuthorities] = []byte("-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n")
			if _, err := r.client.CoreV1().Secrets("dragoman").Update(t.Context(), secret, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
		},
		"the caBundle is gone": func(t *testing.T, r *rig) {
			all := r.client.AdmissionregistrationV1().ValidatingWebhookConfigurations()
			c, err := all.Get(t.Context(), "configuration", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			c.Webhooks[1].ClientConfig.CABundle = nil
			if _, err := all.Update(t.Context(), c, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(emptySecret())
			k := r.keeper()
			look(t, k)
			do(t, r)
			for range 3 { // as often as there is something to do, and once more
				look(t, k)
				r.trusted(t, k)
			}
			if err := k.current.check(k.names, r.now); err != nil {
				t.Error(err)
			}
			if stored, err := read(r.secret(t).Data); err != nil || !stored.same(k.current) {
				t.Errorf("the Secret has another certificate (%v)", err)
			}
			r.writes()
			if look(t, k); r.writes() != "" {
				t.Error("it does not come to rest")
			}
		})
	}
}

func TestAMissingRightIsSaid(t *testing.T) {
	r := newRig()
	r.client.PrependReactor("create", "secrets", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, "secret", errors.New("no right"))
	})
	k := r.keeper()
	_, err := k.look(t.Context())
	if err == nil || !strings.Contains(err.Error(), `make an empty one of that name, for example with "helm upgrade"`) {
		t.Errorf("%v", err)
	}
	k.note(t.Context(), err)
	if !errors.Is(k.Ready(), err) {
		t.Errorf("not ready because of %v, expected %v", k.Ready(), err)
	}
}

func TestTroubleKeepsWhatIsServed(t *testing.T) {
	r := newRig(emptySecret())
	k := r.keeper()
	look(t, k)
	r.client.PrependReactor("get", "secrets", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("the API server is away")
	})
	if _, err := k.look(t.Context()); err == nil {
		t.Fatal("no error")
	}
	r.trusted(t, k)
	if k.Ready() != nil {
		t.Errorf("not ready: %v", k.Ready())
	}
}

// Whoever changes the bundle between two looks has the API servers read it anew.
func TestAnotherCertificateWaitsForTheBundleToRest(t *testing.T) {
	r := newRig(emptySecret())
	k := r.keeper()
	look(t, k)
	old := k.current
	secret := r.secret(t)
	secret.Data = nil
	if _, err := r.client.CoreV1().Secrets("dragoman").Update(t.Context(), secret, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	look(t, k)
	all := r.client.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	c, err := all.Get(t.Context(), "configuration", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.Webhooks[0].ClientConfig.CABundle = old.authorities
	if _, err := all.Update(t.Context(), c, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if again := look(t, k); !again || !k.current.same(old) {
		t.Error("the new certificate is served although the bundle was written just now")
	}
	if again := look(t, k); again || k.current.same(old) {
		t.Error("the new certificate is not served")
	}
	r.trusted(t, k)
}
