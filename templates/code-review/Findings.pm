package Findings;

# What the earlier checks of a run left: every NAME.jsonl and NAME.summary.json under EPARCH_INPUTS, whichever stage
# folder it stands in.

use strict;
use warnings;
use Checkout;
use Json;
use Rules;

# As much as a check may leave: its findings are bounded by rule.
use constant MAX_BYTES => 64 << 20;
use constant CHECKS => qw(secrets conflicts lints diffs sizes);

# Findings worst first, summaries by check, and the survey.
sub gather {
    my %file = map { m{([^/]+)\z} ? ($1 => $_) : () } sort(walk(input_folder(), 0));
    my (@findings, %summary);
    for my $check (CHECKS) {
        $summary{$check} = document($file{"$check.summary.json"}) or Checkout::fail("the check '$check' left no summary; run it before this stage and require it");
        my $lines = Checkout::slurp($file{"$check.jsonl"}, MAX_BYTES);
        Checkout::fail("the check '$check' left no findings file") if !defined $lines;
        for my $line (split /\n/, $lines) {
            my ($found, $reason) = Json::decode($line);
            Checkout::fail("the findings of the check '$check' are damaged: $reason") if defined $reason;
            $_ = $$_ for @{$found}{qw(line column)};
            push @findings, $found;
        }
    }
    @findings = sort {
        $Rules::RANK{$a->{severity}} <=> $Rules::RANK{$b->{severity}} || $a->{path} cmp $b->{path} || $a->{line} <=> $b->{line}
            || $a->{column} <=> $b->{column} || $a->{rule} cmp $b->{rule}
    } @findings;
    my $survey = document($file{'survey.json'}) or Checkout::fail('the stage that surveys the checkout left no survey.json; run it first and require it');
    return (\@findings, \%summary, $survey);
}

sub input_folder {
    my $folder = $ENV{EPARCH_INPUTS};
    Checkout::fail('there is nothing from earlier stages: EPARCH_INPUTS is not set') if !defined $folder || $folder eq '';
    Checkout::fail("there is nothing from earlier stages: the folder '$folder' is missing") if !-d $folder;
    return $folder;
}

sub walk {
    my ($folder, $depth) = @_;
    return () if $depth > 8;
    opendir my $handle, $folder or return ();
    my @names = sort grep { !/\A\.\.?\z/ } readdir $handle;
    closedir $handle;
    my @found;
    for my $name (@names) {
        my $path = "$folder/$name";
        if    (-l $path) { next }
        elsif (-d $path) { push @found, walk($path, $depth + 1) }
        elsif ($name =~ /\.jsonl?\z/) { push @found, $path }
    }
    return @found;
}

sub document {
    my ($path) = @_;
    my $text = defined $path ? Checkout::slurp($path, MAX_BYTES) : undef;
    return undef if !defined $text;
    my ($value, $reason) = Json::decode($text);
    Checkout::fail("'$path' is damaged: $reason") if defined $reason;
    return $value;
}

sub by_severity {
    my ($findings) = @_;
    my %count = map { $_ => 0 } @Rules::SEVERITIES;
    $count{$_->{severity}}++ for @$findings;
    return \%count;
}

1;
