package admission

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
)

const (
	// lookEvery is how often the Secret and the webhook configuration are looked at: two small reads.
	lookEvery = 30 * time.Second
	// hurry is the pause after a look that went wrong, or after which another one is due.
	hurry = 2 * time.Second
	// lookTimeout bounds a look.
	lookTimeout = 10 * time.Second
)

// KeeperOptions says where the certificate is kept and who has to trust it.
type KeeperOptions struct {
	Client kubernetes.Interface
	// Namespace has the Service by which the API server reaches the webhook, and the Secret of the certificate.
	Namespace, Service, Secret string
	// Configuration is the name of the ValidatingWebhookConfiguration.
	Configuration string
	// IPs are other addresses that the certificate is good for, such as those of a test.
	IPs []net.IP
	// Ends is told when the certificate that is served ends; nil means nobody.
	Ends func(time.Time)
}

// Keeper keeps a certificate that the API server trusts. Use [NewKeeper].
type Keeper struct {
	options KeeperOptions
	names   names
	now     func() time.Time

	mu      sync.Mutex
	current *credentials // nil if there are none yet
	next    *credentials // what the last look found and did not serve yet
	trouble error        // of the last look
}

// NewKeeper returns a keeper without a certificate; [Keeper.Run] gets one.
func NewKeeper(options KeeperOptions) *Keeper {
	host := options.Service + "." + options.Namespace + ".svc"
	return &Keeper{options: options, now: time.Now,
		names: names{DNS: []string{host}, IPs: options.IPs}, trouble: errors.New("it was not looked for yet")}
}

// Certificate returns the certificate to serve, for [tls.Config].
func (k *Keeper) Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.current == nil {
		return nil, errors.New("there is no certificate yet")
	}
	return &k.current.certificate, nil
}

// Ready says why the API server cannot ask yet.
func (k *Keeper) Ready() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.current == nil {
		return k.trouble
	}
	return nil
}

// Run keeps the certificate until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	for {
		again, err := k.look(ctx)
		k.note(ctx, err)
		pause := lookEvery
		if again || err != nil {
			pause = hurry
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// note keeps what went wrong, and logs it when it begins and ends.
func (k *Keeper) note(ctx context.Context, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	logger := klog.FromContext(ctx)
	switch {
	case err == nil && k.trouble != nil:
		logger.Info("The API server trusts the webhook's certificate", "ends", k.current.ends)
	case err != nil && ctx.Err() == nil && (k.trouble == nil || k.trouble.Error() != err.Error()):
		logger.Error(err, "The webhook's certificate cannot be kept, trying again", "serving", k.current != nil)
	}
	if ctx.Err() == nil {
		k.trouble = err
	}
}

// look does what there is to do once, and says whether another look is due soon.
func (k *Keeper) look(ctx context.Context) (again bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	kept, err := k.keep(ctx)
	if err != nil {
		return false, err
	}
	changed, err := k.trust(ctx, kept.authorities)
	if err != nil {
		return false, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	// Another certificate is not served before the API servers have had time to read of its authority, which this replica
	// has told them of or another one just before. The first one is: there is nothing to lose.
	if k.current != nil && !k.current.same(kept) && (changed || !k.next.same(kept)) {
		k.next = kept
		return true, nil
	}
	k.current, k.next = kept, nil
	if k.options.Ends != nil {
		k.options.Ends(kept.ends)
	}
	return false, nil
}

// keep returns the credentials of the Secret, which are new if those were not good.
func (k *Keeper) keep(ctx context.Context) (*credentials, error) {
	secrets := k.options.Client.CoreV1().Secrets(k.options.Namespace)
	secret, err := secrets.Get(ctx, k.options.Secret, metav1.GetOptions{})
	missing := apierrors.IsNotFound(err)
	if err != nil && !missing {
		return nil, fmt.Errorf("get the Secret of the certificate: %w", err)
	}
	if missing {
		secret = &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: k.options.Namespace, Name: k.options.Secret}}
	}
	kept, why := read(secret.Data)
	if why == nil {
		if why = kept.check(k.names, k.now()); why == nil {
			return kept, nil
		}
	}
	made, err := issue(k.names, k.before(secret.Data[keyAuthorities]), k.now())
	if err != nil {
		return nil, err
	}
	secret.Data = made.stored
	if missing {
		_, err = secrets.Create(ctx, secret, metav1.CreateOptions{})
	} else {
		_, err = secrets.Update(ctx, secret, metav1.UpdateOptions{})
	}
	switch {
	case missing && apierrors.IsForbidden(err):
		return nil, fmt.Errorf("make the Secret of the certificate, which somebody removed; make an empty one of that name, "+
			"for example with \"helm upgrade\": %w", err)
	case err != nil: // a conflict, too: another replica has made one
		return nil, fmt.Errorf("write the Secret of the certificate: %w", err)
	}
	klog.FromContext(ctx).Info("Made a certificate for the webhook", "why", why.Error(),
		"secret", klog.KRef(k.options.Namespace, k.options.Secret), "ends", made.ends)
	return made, nil
}

// before returns the authorities that were trusted so far: those of what is served, whatever became of the Secret.
func (k *Keeper) before(stored []byte) []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.current != nil {
		return k.current.authorities
	}
	return stored
}

// trust puts the authorities into the webhook configuration, and says whether they were not there.
func (k *Keeper) trust(ctx context.Context, authorities []byte) (changed bool, err error) {
	configurations := k.options.Client.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	configuration, err := configurations.Get(ctx, k.options.Configuration, metav1.GetOptions{})
	if err != nil {
		return false, fmt.Errorf("get the ValidatingWebhookConfiguration: %w", err)
	}
	patch, err := bundlePatch(configuration, authorities)
	if err != nil || patch == nil {
		return false, err
	}
	_, err = configurations.Patch(ctx, configuration.Name, types.StrategicMergePatchType, patch,
		metav1.PatchOptions{FieldManager: "dragoman-webhook"})
	if err != nil {
		return false, fmt.Errorf("write the caBundle of the ValidatingWebhookConfiguration: %w", err)
	}
	return true, nil
}

// bundlePatch returns the patch by which all webhooks of the configuration trust the authorities, nil if they do.
func bundlePatch(c *admissionregistrationv1.ValidatingWebhookConfiguration, authorities []byte) ([]byte, error) {
	type clientConfig struct {
		CABundle []byte `json:"caBundle"`
	}
	type webhook struct {
		Name         string       `json:"name"`
		ClientConfig clientConfig `json:"clientConfig"`
	}
	var patch struct {
		Webhooks []webhook `json:"webhooks"`
	}
	for _, one := range c.Webhooks {
		if !bytes.Equal(one.ClientConfig.CABundle, authorities) {
			patch.Webhooks = append(patch.Webhooks, webhook{Name: one.Name, ClientConfig: clientConfig{authorities}})
		}
	}
	if len(patch.Webhooks) == 0 {
		return nil, nil
	}
	encoded, err := json.Marshal(patch)
	return encoded, err
}
