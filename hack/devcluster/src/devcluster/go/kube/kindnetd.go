package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// kindnetd gives the pods of a kind node their network: a CNI configuration for this node's pod range, a route
// to the range of every other node, and masquerading of what leaves the pod network. IPv4 only, and network
// policies are not enforced. It stands in for kind's own daemon, which is not published as a Go module, and reads
// the environment that kind's manifest sets for that one: HOST_IP, POD_SUBNET, CONTROL_PLANE_ENDPOINT.
type kindnetd struct {
	hostIP    string
	podSubnet string
	confFile  string
}

const masqueradeChain = "KIND-MASQ"

func runKindnetd() error {
	daemon := kindnetd{os.Getenv("HOST_IP"), os.Getenv("POD_SUBNET"), "/etc/cni/net.d/10-kindnet.conflist"}
	if daemon.hostIP == "" || daemon.podSubnet == "" {
		return errors.New("HOST_IP and POD_SUBNET must be set, as kind's manifest does")
	}
	if err := masquerade(daemon.podSubnet); err != nil {
		return err
	}
	client, err := nodeClient()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()

	factory := informers.NewSharedInformerFactory(client, time.Minute)
	nodes := factory.Core().V1().Nodes()
	changed := make(chan struct{}, 1)
	wake := func(any) {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc: wake, DeleteFunc: wake, UpdateFunc: func(_, now any) { wake(now) },
	}
	if _, err := nodes.Informer().AddEventHandler(handler); err != nil {
		return err
	}
	factory.Start(ctx.Done())
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
		all, err := nodes.Lister().List(labels.Everything())
		if err == nil {
			err = daemon.apply(all)
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "the pod network is not complete, trying again in a second: %v\n", err)
			time.AfterFunc(time.Second, func() { wake(nil) })
		}
	}
}

// nodeClient talks to the API server by its node's address. The address of the kubernetes Service works only
// once kube-proxy has programmed it; until then packets to it leave by the default route.
func nodeClient() (kubernetes.Interface, error) {
	if endpoint := os.Getenv("CONTROL_PLANE_ENDPOINT"); endpoint != "" {
		host, port, err := net.SplitHostPort(endpoint)
		if err != nil {
			return nil, fmt.Errorf("CONTROL_PLANE_ENDPOINT must be host:port: %w", err)
		}
		os.Setenv("KUBERNETES_SERVICE_HOST", host)
		os.Setenv("KUBERNETES_SERVICE_PORT", port)
	}
	config, err := rest.InClusterConfig()
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(config)
}

func (d kindnetd) apply(nodes []*corev1.Node) error {
	var failed []error
	for _, node := range nodes {
		if node.Spec.PodCIDR == "" {
			continue // the controller manager has not given it a range yet; its update wakes us
		}
		address := internalIP(node)
		if address == d.hostIP {
			failed = append(failed, d.writeConfig(node.Spec.PodCIDR))
		} else if address != "" {
			failed = append(failed, route(node.Spec.PodCIDR, address))
		}
	}
	return errors.Join(failed...)
}

func internalIP(node *corev1.Node) string {
	for _, address := range node.Status.Addresses {
		if address.Type == corev1.NodeInternalIP {
			return address.Address
		}
	}
	return ""
}

func route(podRange, gateway string) error {
	_, destination, err := net.ParseCIDR(podRange)
	if err != nil {
		return err
	}
	return netlink.RouteReplace(&netlink.Route{Dst: destination, Gw: net.ParseIP(gateway)})
}

func (d kindnetd) writeConfig(podRange string) error {
	object := func(pairs ...any) map[string]any {
		result := map[string]any{}
		for i := 0; i < len(pairs); i += 2 {
			result[pairs[i].(string)] = pairs[i+1]
		}
		return result
	}
	addresses := object(
		"type", "host-local", "dataDir", "/run/cni-ipam-state",
		"routes", []any{object("dst", "0.0.0.0/0")},
		"ranges", []any{[]any{object("subnet", podRange)}})
	content, err := json.Marshal(object(
		"cniVersion", "1.0.0", "name", "kindnet",
		"plugins", []any{
			object("type", "ptp", "ipMasq", false, "mtu", 1500, "ipam", addresses),
			object("type", "portmap", "capabilities", object("portMappings", true)),
		}))
	if err != nil {
		return err
	}
	if old, err := os.ReadFile(d.confFile); err == nil && string(old) == string(content) {
		return nil
	}
	// The container runtime watches the directory: it must never see half a file.
	scratch := filepath.Join(filepath.Dir(d.confFile), ".kindnet.new")
	if err := os.WriteFile(scratch, content, 0o644); err != nil {
		return err
	}
	return os.Rename(scratch, d.confFile)
}

// masquerade lets pods reach addresses outside of the pod network, under their node's own address.
func masquerade(podSubnet string) error {
	iptables := func(args ...string) error {
		output, err := exec.Command("iptables", append([]string{"-w", "-t", "nat"}, args...)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("iptables %v: %w: %s", args, err, output)
		}
		return nil
	}
	_ = iptables("-N", masqueradeChain) // exists already after a restart of this container
	jump := []string{"POSTROUTING", "-s", podSubnet, "-m", "addrtype", "!", "--dst-type", "LOCAL", "-j", masqueradeChain}
	if err := iptables("-F", masqueradeChain); err != nil {
		return err
	}
	if err := iptables("-A", masqueradeChain, "-d", podSubnet, "-j", "RETURN"); err != nil {
		return err
	}
	if err := iptables("-A", masqueradeChain, "-j", "MASQUERADE"); err != nil {
		return err
	}
	if iptables(append([]string{"-C"}, jump...)...) == nil {
		return nil
	}
	return iptables(append([]string{"-A"}, jump...)...)
}
