# seconds of prefill and decode where one length is split, measured (raas bench breakdown)
# Redraw with `gnuplot breakdown.gp` in the folder that holds this, style.gp and the data.
load 'style.gp'
data = 'breakdown.tsv'

# One pass over the rows: how many, the title.
model = ''; where = ''; policy = ''; total = 0; repeats = 0; bars = 0
note_text(m, w, p) = (model = m, where = w, policy = p, bars = bars + 1, 0)
note_sizes(t, r) = (total = t, repeats = r, 0)
stats data using (note_text(strcol('model'), strcol('backend'), strcol('policy')) \
    + note_sizes(column('total'), column('repeats'))) nooutput
width = 140 + 64 * bars < 620 ? 620 : 140 + 64 * bars
height = 470
label_of(p, d) = p."\n".d

do for [format in 'svg png'] {
    if (format eq 'svg') {
        set terminal svg size width, height font 'DejaVu Sans,12' background '#ffffff' noenhanced
    } else {
        set terminal pngcairo size 2 * width, 2 * height font 'DejaVu Sans,12' fontscale 1.65 linewidth 2 background '#ffffff' noenhanced
    }
    set output 'breakdown.'.format
    load 'style.gp'
    set title model.' on '.where.'    '.policy.sprintf('    %.0f tokens in all, end token ignored', total) font ',13'
    set style fill solid 1.0 border lc rgb '#ffffff'
    set boxwidth 0.8
    set xrange [-0.6 : bars - 0.4]
    set yrange [0 : *]
    set ylabel sprintf('seconds (median and range of %.0f)', repeats)
    set xlabel 'tokens of the prompt, and decoded behind it' offset 0, -0.8
    set xtics nomirror scale 0
    set key at screen 0.5, screen 16.0 / height center center horizontal samplen 1.2 width 1.5 maxrows 1
    set lmargin at screen 92.0 / width; set rmargin at screen 1 - 14.0 / width
    set bmargin at screen 100.0 / height; set tmargin at screen 1 - 44.0 / height
    plot data using 0:(column('prefill') + column('decode')):xticlabels(label_of(strcol('prompt'), strcol('tokens'))) with boxes \
            lc rgb '#0072B2' title 'decode', \
        data using 0:'prefill' with boxes lc rgb '#E69F00' title 'prefill', \
        data using 0:(column('prefill') + column('decode_lo')):(0):(column('decode_hi') - column('decode_lo')) notitle \
            with vectors nohead lw 1.4 lc rgb '#000000', \
        data using 0:'prefill_lo':(0):(column('prefill_hi') - column('prefill_lo')) notitle with vectors nohead lw 1.4 lc rgb '#000000'
    unset output
}
